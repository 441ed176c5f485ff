"""Workers report ids and short results to Flower, show open rows as RETRY, and hide periodic tasks that found nothing."""

import asyncio
from collections import Counter
from concurrent.futures import Future
from typing import Any

import pytest

from workers.task_events import HousekeepingRequest, ReportingRequest, remember_result
from workflows.processing.task_summary import (
    RowSummary,
    TaskSummary,
    TextSummary,
    combine_summaries,
    failed_text,
    summarise_task,
)

PAYMENTS = ["pay_01a22b30b3a8727199456ba974521efb", "pay_01a22b30b4b277e9bd3d6aa5a71c746b"]
CARD = "4111111111111111"


class Events:
    """A replacement for Celery's event dispatcher that records the events."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, type: str, **fields: Any) -> None:  # noqa: A002 - the name is Celery's
        self.sent.append({"type": type, **fields})

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.sent]


def request(kind: type[ReportingRequest], *, args: str = "") -> tuple[ReportingRequest, Events]:
    events = Events()
    made = kind.__new__(kind)
    made._eventer, made._argsrepr, made._kwargsrepr = events, args, f"{{'note': '{CARD}'}}"
    made.id, made.name = "a-task", "payments.process"
    return made, events


def counted(*words: str, is_open: bool = False) -> TaskSummary:
    outcome = TaskSummary()
    for word in words:
        outcome.add(word, is_open=is_open)
    return outcome


def test_a_result_counts_how_the_rows_ended() -> None:
    made, events = request(ReportingRequest)
    remember_result(counted("completed", "completed", failed_text("insufficient_funds")))
    made.send_event("task-succeeded", result="repr by Celery", runtime=0.1)
    assert events.sent[0]["type"] == "task-succeeded"
    assert events.sent[0]["result"] == "2 completed, 1 failed: insufficient_funds"


@pytest.mark.parametrize("outcome", [counted("in doubt", is_open=True), TextSummary("no statement", is_open=True)])
def test_an_outcome_with_open_rows_is_shown_as_retry(outcome: TaskSummary | TextSummary) -> None:
    made, events = request(ReportingRequest)
    remember_result(outcome)
    made.send_event("task-succeeded", result="", runtime=0.1)
    assert events.types == ["task-retried"]
    assert events.sent[0]["result"] == repr(outcome)


def test_the_outcome_of_a_task_is_not_reported_for_the_next_task_of_its_thread() -> None:
    made, events = request(ReportingRequest)
    remember_result(counted("in doubt", is_open=True))
    made.send_event("task-succeeded", result="", runtime=0.1)
    made.send_event("task-succeeded", result="", runtime=0.1)
    remember_result(counted("in doubt", is_open=True))
    remember_result(None)
    made.send_event("task-succeeded", result="", runtime=0.1)
    assert events.types == ["task-retried", "task-succeeded", "task-succeeded"]
    assert events.sent[1]["result"] == ""


def test_calls_in_flight_are_reported_when_they_have_ended() -> None:
    made, events = request(ReportingRequest)
    told: Future[None] = Future()
    send = events.send

    def sending(type: str, **fields: Any) -> None:  # noqa: A002 - as above
        send(type, **fields)
        told.set_result(None)

    events.send = sending  # type: ignore[method-assign]
    later: Future[TaskSummary] = Future()
    remember_result(TaskSummary(Counter({"at the provider": 1}), later=later))
    made.send_event("task-succeeded", result="", runtime=0.1)
    assert events.sent == []
    later.set_result(counted("in doubt", is_open=True))
    told.result(timeout=60)
    assert (events.types, events.sent[0]["result"]) == (["task-retried"], "1 in doubt")
    assert events.sent[0]["runtime"] >= 0.1  # until the last call has ended


def test_flower_shows_all_ids_of_a_message_and_no_other_argument() -> None:
    made, _ = request(ReportingRequest, args=f"({PAYMENTS!r}, '{CARD}', {{'amount': 1200, 'note': 'for Ms. Sato'}})")
    assert made.argsrepr == ", ".join(PAYMENTS)
    assert made.kwargsrepr == ""


@pytest.mark.parametrize("header", [None, 4111111111111111, {"amount": 1200}, [], b"\xff"])
def test_a_malformed_header_is_shown_without_ids_and_stops_no_consumer(header: Any) -> None:
    made, _ = request(ReportingRequest)
    made._argsrepr = header
    assert made.argsrepr == ""


def test_only_the_name_of_an_error_is_reported() -> None:
    made, events = request(ReportingRequest)
    made.send_event("task-failed", exception=f"ValueError('no such card {CARD}')", traceback=f"… {CARD} …")
    assert events.sent == [
        {"type": "task-failed", "uuid": "a-task", "exception": "ValueError", "traceback": None},
    ]


def test_housekeeping_is_shown_only_if_it_failed_or_found_something() -> None:
    made, events = request(HousekeepingRequest)
    remember_result(None)
    made.send_event("task-started")
    made.send_event("task-succeeded", result="None", runtime=0.1)
    assert events.sent == []
    remember_result(TextSummary("nudged 1 inquiry"))
    made.send_event("task-succeeded", result="", runtime=0.1)
    assert events.types == ["task-received", "task-succeeded"]
    assert events.sent[0]["name"] == "payments.process"
    made.send_event("task-failed", exception="ServiceUnavailable()", traceback="…")
    assert events.types[2:] == ["task-received", "task-failed"]


@pytest.mark.parametrize("code", ["4111111111111111", "Do not honour, Ms. Sato", "card_4111", "", None, "a" * 5 + "\n"])
def test_a_failure_code_with_special_characters_is_not_shown(code: str | None) -> None:
    assert failed_text(code) == "failed"


def test_several_outcomes_count_as_open_if_any_is_open() -> None:
    both = combine_summaries(
        [TextSummary("2 matched"), TextSummary("no statement of sandbox", is_open=True)], waiting=3
    )
    assert repr(both) == "2 matched; no statement of sandbox; 3 wait for a slot"
    assert both.is_open


async def test_the_complete_summary_follows_when_the_last_running_row_has_ended() -> None:
    ends = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def row(end: "asyncio.Future[None]") -> RowSummary:
        await end
        return RowSummary("completed", is_open=False)

    tasks = [asyncio.ensure_future(row(end)) for end in ends]
    summary = summarise_task(tasks, count=2)
    assert str(summary) == "2 at the provider"
    assert summary.later is not None
    for number, (end, task) in enumerate(zip(ends, tasks, strict=True), start=1):
        end.set_result(None)
        await task
        await asyncio.sleep(0)  # the callbacks of the task
        assert summary.later.done() == (number == 2)
    assert str(summary.later.result()) == "2 completed"

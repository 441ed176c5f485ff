"""The sweeps worker logs a silent beat and silent queues, and the API shows them."""

import asyncio
import importlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from mpac.stack.local_stack import LocalStack
from tests.harness import Api
from tests.integration.beat.test_scheduler import Clock
from tests.integration.payments.evidence import Admin
from workflows.ops import liveness
from workflows.ops.liveness import BEAT, SILENCE_SECONDS, beat_silent_seconds, find_silent_queues, note_beat
from workflows.ops.silence_rules import AGAIN_SECONDS

QUIET = 0.0
PAUSE = SILENCE_SECONDS / 4


@pytest.fixture
async def watch(stack: LocalStack, engines: None, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Yield a silence watch with a clock that the test moves, on the tests' event loop."""
    module = importlib.import_module("beat.beat_monitor")
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(module, "run", lambda work: asyncio.run_coroutine_threadsafe(work, loop).result())
    monkeypatch.setattr(module, "runtime", lambda: SimpleNamespace(worker="w"))
    monkeypatch.setattr(liveness, "_STARTED", -1e9)  # this process was started long ago
    clock = Clock()
    made = module.BeatMonitor(clock=clock)
    made.clock = clock
    await admin.execute("DELETE FROM canaries")
    yield made
    await admin.execute("DELETE FROM canaries")
    with Redis.from_url(stack.urls.broker) as client:
        client.flushall()


@pytest.fixture
def look(watch: Any, caplog: pytest.LogCaptureFixture) -> Callable[[], Awaitable[list[str]]]:
    """Return a function that lets the watch check once, and returns the events logged as errors."""

    async def once() -> list[str]:
        caplog.clear()
        await asyncio.to_thread(watch.run_once)
        assert [record.getMessage() for record in caplog.records if "cut short" in record.getMessage()] == []
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        return [record.__dict__["event"] for record in errors]

    return once


@pytest.fixture
def passes(watch: Any, look: Callable[[], Awaitable[list[str]]]) -> Callable[[float], Awaitable[list[str]]]:
    """Return a function that advances the clock in steps of ``PAUSE``, and checks after each step.

    It returns the events that the checks logged as errors.
    """

    async def seconds_pass(seconds: float) -> list[str]:
        events = []
        for _ in range(int(seconds / PAUSE)):
            watch.clock.seconds += PAUSE
            events += await look()
        return events

    return seconds_pass


async def told(api: Api) -> float:
    """Return the metric that says how many seconds ago beat was last heard from."""
    page = (await api.get("//metrics")).raw.decode()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    (silent,) = [sample.value for sample in samples if sample.name == "mpac_beat_silent_seconds"]
    assert not [sample for sample in samples if sample.labels.get("queue") == BEAT]
    return float(silent)


async def test_beat_messages_are_recorded_and_a_silent_beat_is_reported_repeatedly(
    watch: Any,
    look: Callable[[], Awaitable[list[str]]],
    passes: Callable[[float], Awaitable[list[str]]],
    api: Api,
    admin: Admin,
) -> None:
    watch.message_arrived()
    assert await look() == []
    assert await told(api) < SILENCE_SECONDS
    assert await passes(SILENCE_SECONDS) == ["beat.silent"]
    assert await passes(AGAIN_SECONDS) == ["beat.silent"]
    await admin.execute("UPDATE canaries SET consumed_at = consumed_at - interval '2 min' WHERE queue = 'beat'")
    assert await told(api) >= 2 * SILENCE_SECONDS
    watch.message_arrived()
    assert watch.wake.is_set(), "nobody waits for the next look to be told that it is back"
    assert await look() == []
    assert await told(api) < SILENCE_SECONDS


async def test_a_beat_that_never_started_is_reported(
    look: Callable[[], Awaitable[list[str]]],
    passes: Callable[[float], Awaitable[list[str]]],
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await look() == []
    assert await passes(SILENCE_SECONDS) == ["beat.silent"]
    assert await told(api) >= SILENCE_SECONDS
    monkeypatch.setattr(liveness, "_STARTED", time.monotonic())  # in a new process, a canary may still arrive
    assert await told(api) < SILENCE_SECONDS


@pytest.mark.parametrize("jump", ["1 h", "-1 h"])
async def test_a_jumping_database_clock_hides_no_silence_and_a_false_alarm_ends_soon(
    watch: Any, look: Callable[[], Awaitable[list[str]]], admin: Admin, jump: str
) -> None:
    watch.message_arrived()
    await look()
    await admin.execute("UPDATE canaries SET consumed_at = consumed_at - %s::interval WHERE queue = 'beat'", [jump])
    assert await beat_silent_seconds() > SILENCE_SECONDS
    watch.clock.seconds += 1
    watch.message_arrived()  # as the worker does every second
    await look()
    assert await beat_silent_seconds() < SILENCE_SECONDS


@pytest.mark.parametrize("jump", ["1 h", "-1 h"])
async def test_a_queue_that_falls_silent_after_a_clock_jump_is_reported(
    look: Callable[[], Awaitable[list[str]]], admin: Admin, jump: str
) -> None:
    await look()
    await admin.execute("UPDATE canaries SET consumed_at = now()")  # all canaries were consumed
    await admin.execute(
        "UPDATE canaries SET consumed_at = consumed_at - %s::interval, sent_at = sent_at - %s::interval", [jump, jump]
    )
    await look()  # the canaries of this check are not consumed
    await admin.execute("UPDATE canaries SET sent_at = sent_at - interval '2 min' WHERE queue = 'payments'")
    assert "queue.silent" in await look()


async def test_a_watch_that_was_frozen_reports_no_silence(
    watch: Any,
    look: Callable[[], Awaitable[list[str]]],
    passes: Callable[[float], Awaitable[list[str]]],
    admin: Admin,
) -> None:
    watch.message_arrived()
    await look()
    watch.clock.seconds += 600
    await admin.execute("UPDATE canaries SET sent_at = sent_at - interval '10 min'")
    assert await look() == []
    assert await passes(PAUSE) == []
    assert sorted(set(await passes(SILENCE_SECONDS))) == ["beat.silent", "queue.silent"]


async def test_an_unreachable_broker_is_not_reported_as_silence_of_beat_and_queues(
    watch: Any,
    look: Callable[[], Awaitable[list[str]]],
    passes: Callable[[float], Awaitable[list[str]]],
    admin: Admin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(queue: str) -> int:
        raise OSError(queue)

    watch.message_arrived()
    await look()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module("beat.beat_monitor"), "messages_waiting", away)
        await passes(PAUSE)
        await admin.execute("UPDATE canaries SET sent_at = sent_at - interval '10 min'")
        assert await passes(2 * SILENCE_SECONDS) == []
    assert await passes(PAUSE) == []
    watch.message_arrived()
    await admin.execute("UPDATE canaries SET consumed_at = now()")
    assert await passes(SILENCE_SECONDS - PAUSE) == []


async def test_a_silent_queue_is_reported_once_until_it_is_heard_or_five_minutes_have_passed(
    watch: Any,
    look: Callable[[], Awaitable[list[str]]],
    passes: Callable[[float], Awaitable[list[str]]],
    admin: Admin,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await look()
    await admin.execute("UPDATE canaries SET consumed_at = now()")
    await admin.execute(
        "UPDATE canaries SET consumed_at = NULL, sent_at = sent_at - interval '2 min' WHERE queue = 'payments'"
    )
    watch.message_arrived()
    assert await look() == ["queue.silent"]
    assert await passes(SILENCE_SECONDS - PAUSE) == []
    await admin.execute("UPDATE canaries SET consumed_at = now()")
    watch.message_arrived()
    await passes(PAUSE)
    assert [record.getMessage() for record in caplog.records if record.__dict__.get("event") == "queue.heard"] == [
        "the queue payments is heard again"
    ]


async def test_canaries_are_sent_without_beat_and_an_unconsumed_queue_stays_small(
    stack: LocalStack, watch: Any, look: Callable[[], Awaitable[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("beat.beat_monitor"), "BACKLOG_LIMIT", 3)
    for _ in range(5):
        watch.message_arrived()
        await look()
    with Redis.from_url(stack.urls.broker) as client:
        assert {
            queue: client.llen(queue) for queue in ("payments", "refunds", "settlements", "webhooks")
        } == dict.fromkeys(("payments", "refunds", "settlements", "webhooks"), 3)
    assert await find_silent_queues(limit_seconds=SILENCE_SECONDS) == []


async def test_the_watch_survives_an_unreachable_database_or_broker(
    watch: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(work: Any) -> None:
        work.close()
        raise OSError("away")

    monkeypatch.setattr(importlib.import_module("beat.beat_monitor"), "run", away)
    watch.message_arrived()
    for _ in range(4):
        watch.clock.seconds += PAUSE
        await asyncio.to_thread(watch.run_once)
    assert [record.__dict__["event"] for record in caplog.records if record.levelname == "ERROR"] == ["beat.silent"]


async def test_the_time_of_beat_is_not_written_again_without_a_new_message(
    watch: Any, look: Callable[[], Awaitable[list[str]]], admin: Admin
) -> None:
    """A repeated write would look like a new message of beat, as each write rounds the time differently."""

    async def noted() -> Any:
        return await (await admin.execute("SELECT consumed_at FROM canaries WHERE queue = 'beat'")).fetchone() or {}

    watch.message_arrived()
    await look()
    before = await noted()
    watch.clock.seconds += 1
    await look()
    assert await noted() == before
    watch.message_arrived()
    await look()
    assert await noted() != before


async def test_beat_is_heard_by_any_worker(engines: None, admin: Admin) -> None:
    await note_beat(seconds_ago=30, worker="one")
    await note_beat(seconds_ago=QUIET, worker="two")
    assert await beat_silent_seconds() < SILENCE_SECONDS
    await admin.execute("DELETE FROM canaries WHERE queue = 'beat'")

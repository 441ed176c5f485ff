"""A new call restarts the schedule of inquiries; the review stays due from the first unknown outcome."""

from dataclasses import replace

import pytest

from tests.unit.processing.situations import decided, facts
from workflows.processing.decision import FinalStatus, Remark
from workflows.processing.next_step import Step
from workflows.providers.base import (
    Answer,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)

ASKING = (Step.CHARGE, Step.RETRY, Step.RESEND, Step.INQUIRE, Step.WITHDRAW)


@pytest.mark.parametrize("step", [Step.CHARGE, Step.RETRY, Step.RESEND])
def test_a_lost_answer_to_a_new_call_restarts_the_schedule(step: Step) -> None:
    outcome = {Step.RESEND: "not_found"}.get(step, "unavailable")
    found = decided(step, Unknown("read time-out"), facts(outcome, doubted_hours=5, inquiries=8, cancelled=True))
    assert (found.due_in_seconds, found.inquiries, found.attempt_outcome) == (2, 1, "unknown")


def test_schedule_starts_again_with_the_first_reversal_only() -> None:
    doubted = facts("unknown", doubted_hours=5, inquiries=8, cancelled=True)
    learned = decided(Step.WITHDRAW, Succeeded(400), doubted)
    assert (learned.event, learned.due_in_seconds, learned.inquiries) == (Remark.REQUEST_REVIEW, 0, 0)
    first = decided(Step.REVERSE, Unknown("?"), replace(doubted, needs_review=True, inquiries=0))
    assert (first.attempt_outcome, first.due_in_seconds, first.inquiries) == ("unknown", 2, 1)
    asked = decided(Step.WITHDRAW, Succeeded(400), replace(doubted, needs_review=True, inquiries=1))
    assert (asked.event, asked.due_in_seconds, asked.inquiries) == (None, 0, None)
    second = decided(Step.REVERSE, Unknown("?"), replace(doubted, needs_review=True, inquiries=1))
    assert (second.due_in_seconds, second.inquiries) == (5, 2)


@pytest.mark.parametrize("answer", [Unavailable("503"), Unknown("?"), NotFound()])
@pytest.mark.parametrize("step", [Step.INQUIRE, Step.WITHDRAW])
def test_a_call_whose_worker_died_restarts_the_schedule_once(step: Step, answer: Answer) -> None:
    found = decided(step, answer, facts(None, doubted_hours=5, inquiries=8))
    assert (found.due_in_seconds, found.inquiries, found.attempt_outcome) == (2, 1, "unknown")
    later = decided(step, Unavailable("503"), facts("unknown", doubted_hours=5, inquiries=1))
    assert (later.due_in_seconds, later.inquiries) == (5, 2)


def test_the_review_is_due_from_the_first_unknown_outcome_despite_later_calls() -> None:
    found = decided(Step.RESEND, Unknown("read time-out"), facts("not_found", doubted_hours=24, inquiries=9))
    assert (found.event, found.needs_review, found.due_in_seconds) == (Remark.REQUEST_REVIEW, True, 2)


def test_expired_attempt_that_never_arrived_is_withdrawn_until_the_provider_confirms() -> None:
    expired = facts("unknown", doubted_hours=1, not_found_seconds_ago=61, expired=True, deduplicates=False, inquiries=6)
    proven = decided(Step.INQUIRE, NotFound(), expired)
    assert (proven.attempt_outcome, proven.due_in_seconds) == ("not_found", 0)
    lost = facts("not_found", doubted_hours=1, not_found_seconds_ago=61, expired=True, inquiries=0)
    for answer in (Unknown("?"), Unavailable("503"), NotFound()):
        found = decided(Step.WITHDRAW, answer, lost)
        assert (found.status, found.attempt_outcome) in ((None, None), (None, "not_found"))
        assert (found.due_in_seconds, found.inquiries) == (2, 1)
    done = decided(Step.WITHDRAW, Withdrawn(), lost)
    assert (done.status, done.code, done.attempt_outcome) == (FinalStatus.CANCELLED, "expired", "withdrawn")


def test_a_first_not_found_in_the_future_proves_nothing() -> None:
    found = decided(Step.INQUIRE, NotFound(), facts("unknown", doubted_hours=0.1, not_found_seconds_ago=-3_600))
    assert (found.attempt_outcome, found.not_found) == ("unknown", True)
    assert found.due_in_seconds
    assert found.due_in_seconds <= 60

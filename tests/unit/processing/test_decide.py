"""Test every row of the table that decides what a provider's answer means."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.processing.situations import CODE, OUTCOMES, decided, facts
from workflows.processing.decide import MAX_RETRIES
from workflows.processing.decision import Event, FinalStatus, Remark
from workflows.processing.delays import INQUIRY_DELAYS_SECONDS, POLL_SECONDS
from workflows.processing.next_step import Facts, Step, next_step
from workflows.providers.base import (
    ActionRequired,
    Answer,
    Declined,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)

ASKING = (Step.CHARGE, Step.RETRY, Step.RESEND, Step.INQUIRE, Step.WITHDRAW)


@pytest.mark.parametrize("step", ASKING)
def test_success_completes_the_payment_after_any_step(step: Step) -> None:
    found = decided(step, Succeeded(1_000, "r1", "A1", "visa", "1111"))
    assert (found.event, found.status) == (Event.COMPLETE, FinalStatus.COMPLETED)
    assert found.due_in_seconds is None
    assert found.outcome_known
    assert (found.provider_reference, found.approval_code, found.card_brand, found.card_last_4) == (
        "r1",
        "A1",
        "visa",
        "1111",
    )


@pytest.mark.parametrize("moved", [1, 999, 1_001])
@pytest.mark.parametrize("step", ASKING)
def test_success_with_another_amount_neither_completes_nor_fails_the_payment(step: Step, moved: int) -> None:
    found = decided(step, Succeeded(moved))
    assert found.status is None
    assert found.event is Remark.REQUEST_REVIEW
    assert found.needs_review
    assert not found.outcome_known
    assert found.code == "amount_mismatch"


@pytest.mark.parametrize("step", ASKING)
def test_decline_fails_the_payment_at_once(step: Step) -> None:
    found = decided(step, Declined("insufficient_funds", "No"))
    assert (found.event, found.status, found.code) == (Event.FAIL, FinalStatus.FAILED, "insufficient_funds")
    assert found.due_in_seconds is None


@pytest.mark.parametrize("number", range(1, MAX_RETRIES + 2))
@pytest.mark.parametrize("step", [Step.RESEND, Step.INQUIRE, Step.WITHDRAW])
def test_a_retriable_decline_is_tried_again_five_times_at_most(step: Step, number: int) -> None:
    found = decided(step, Declined("processor_busy", is_retriable=True), facts(number=number))
    assert found.attempt_outcome == "declined"
    calls = number + (step is Step.RESEND)
    if calls <= MAX_RETRIES:
        assert (found.event, found.status) == (None, None)
        assert found.due_in_seconds == 0.5 * 2 ** (calls - 1)
    else:
        assert (found.status, found.code) == (FinalStatus.FAILED, "processor_busy")


def sent_now(number: int) -> Facts:
    """Return the facts of a claim that sends attempt ``number``. The previous attempt moved no money."""
    return facts(sent=False) if number == 1 else facts("unavailable", number=number - 1)


@pytest.mark.parametrize("number", range(1, MAX_RETRIES + 2))
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Unavailable("no connection"), "provider_unavailable"),
        (Declined("processor_busy", is_retriable=True), "processor_busy"),
    ],
)
def test_call_that_moved_nothing_is_retried_five_times_and_then_fails(answer: Answer, code: str, number: int) -> None:
    found = decided(Step.CHARGE, answer, sent_now(number))
    assert found.outcome_known
    if number <= MAX_RETRIES:
        assert (found.event, found.status) == (None, None)
        assert found.due_in_seconds == 0.5 * 2 ** (number - 1)
    else:
        assert (found.event, found.status, found.code) == (Event.FAIL, FinalStatus.FAILED, code)


@pytest.mark.parametrize("resends", range(MAX_RETRIES))
def test_retries_under_one_reference_count_as_retries(resends: int) -> None:
    found = decided(Step.RETRY, Unavailable("503"), facts("unavailable", resends=resends))
    if resends + 2 <= MAX_RETRIES:
        assert (found.status, found.attempt_outcome) == (None, "unavailable")
        assert found.due_in_seconds == 0.5 * 2 ** (resends + 1)
    else:
        assert (found.status, found.code) == (FinalStatus.FAILED, "provider_unavailable")


@pytest.mark.parametrize("number", [1, MAX_RETRIES + 1])
@pytest.mark.parametrize("answer", [Unavailable("503", 60), Declined("processor_busy", is_retriable=True)])
@pytest.mark.parametrize("step", [Step.CHARGE, Step.RETRY])
def test_a_payment_that_expired_after_a_call_that_moved_nothing_is_cancelled_at_once(
    step: Step, answer: Answer, number: int
) -> None:
    late = replace(facts("unavailable", number=number), elapsed_seconds=300)
    found = decided(step, answer, late)
    assert (found.event, found.status, found.code) == (Event.CANCEL, FinalStatus.CANCELLED, "expired")
    assert found.attempt_outcome in ("unavailable", "declined")


def test_inquiry_that_did_not_arrive_leaves_the_outcome_unknown() -> None:
    found = decided(Step.INQUIRE, Unavailable("503"), facts("unknown", doubted_hours=1, inquiries=3))
    assert (found.event, found.status, found.attempt_outcome) == (None, None, None)
    assert not found.outcome_known
    assert found.due_in_seconds == INQUIRY_DELAYS_SECONDS[3]


def test_inquiry_is_not_repeated_before_the_providers_retry_after() -> None:
    found = decided(Step.INQUIRE, Unavailable("429", 120), facts("unknown", doubted_hours=1, inquiries=0))
    assert (found.due_in_seconds, found.attempt_outcome) == (120, None)
    found = decided(Step.WITHDRAW, Unavailable("503", 86_400), facts("unknown", doubted_hours=1, cancelled=True))
    assert found.due_in_seconds == 300
    found = decided(Step.INQUIRE, Unavailable("429", 30), facts("action_required"))
    assert (found.due_in_seconds, found.outcome_known) == (30, True)


@pytest.mark.parametrize("answer", [ActionRequired(None), Unavailable("503"), Unknown("read time-out")])
def test_review_is_requested_once_for_a_payment_that_its_provider_never_decides(answer: Answer) -> None:
    since = facts("action_required").now - timedelta(minutes=10)
    found = decided(Step.INQUIRE, answer, replace(facts("action_required"), overdue_after=since))
    assert (found.event, found.needs_review, found.outcome_known) == (Remark.REQUEST_REVIEW, True, True)
    again = decided(Step.INQUIRE, answer, replace(facts("action_required", reviewed=True), overdue_after=since))
    assert (again.event, again.needs_review, again.status) == (None, True, None)
    early = decided(Step.INQUIRE, answer, replace(facts("action_required"), overdue_after=since + timedelta(seconds=1)))
    assert (early.event, early.needs_review) == (None, False)


@pytest.mark.parametrize("answer", [Unavailable("503"), Unknown("read time-out"), Unknown("not asked")])
def test_poll_without_an_answer_leaves_a_pending_code_as_it_is(answer: Answer) -> None:
    found = decided(Step.INQUIRE, answer, facts("action_required"))
    assert found.event is None
    assert found.outcome_known
    assert found.preserve_action


def test_resend_that_did_not_arrive_may_be_sent_again() -> None:
    found = decided(Step.RESEND, Unavailable("503"), facts("not_found", doubted_hours=1))
    assert (found.status, found.attempt_outcome) == (None, "not_found")
    assert not found.outcome_known


def test_resend_is_repeated_on_the_schedule_of_inquiries_and_reviewed_after_a_day() -> None:
    found = decided(Step.RESEND, Unavailable("503"), facts("not_found", doubted_hours=1, inquiries=5))
    assert (found.due_in_seconds, found.inquiries) == (INQUIRY_DELAYS_SECONDS[5], 6)
    repeated = decided(Step.RESEND, Unavailable("429", 299), facts("not_found", doubted_hours=1, inquiries=0))
    assert repeated.due_in_seconds == 299
    old = decided(Step.RESEND, Unavailable("503"), facts("not_found", doubted_hours=24))
    assert (old.event, old.needs_review) == (Remark.REQUEST_REVIEW, True)


@pytest.mark.parametrize("step", [Step.CHARGE, Step.RESEND])
def test_an_unknown_answer_to_a_charge_puts_the_payment_in_doubt(step: Step) -> None:
    found = decided(step, Unknown("read time-out"))
    assert (found.event, found.status) == (Remark.DOUBT, None)
    assert not found.outcome_known
    assert found.attempt_outcome == "unknown"
    assert found.due_in_seconds == INQUIRY_DELAYS_SECONDS[0]


@pytest.mark.parametrize("step", [Step.INQUIRE, Step.WITHDRAW])
def test_unknown_answer_to_an_inquiry_leaves_the_attempt_as_it_is(step: Step) -> None:
    found = decided(step, Unknown("read time-out"), facts("unknown", doubted_hours=0.1))
    assert (found.event, found.status, found.attempt_outcome) == (None, None, None)
    assert not found.outcome_known


def test_doubt_is_recorded_once() -> None:
    assert decided(Step.INQUIRE, Unknown("?"), facts("unknown")).event is Remark.DOUBT
    assert decided(Step.INQUIRE, Unknown("?"), facts("unknown", doubted_hours=1)).event is None


@pytest.mark.parametrize("answer", [Unknown("?"), Unavailable("503"), NotFound()])
def test_review_is_requested_once_after_a_day_in_doubt_and_inquiries_continue(answer: Answer) -> None:
    young = decided(Step.INQUIRE, answer, facts("unknown", doubted_hours=23.9))
    assert (young.event, young.needs_review) == (None, False)
    old = decided(Step.INQUIRE, answer, facts("unknown", doubted_hours=24))
    assert (old.event, old.status, old.needs_review) == (Remark.REQUEST_REVIEW, None, True)
    assert old.due_in_seconds is not None
    later = decided(Step.INQUIRE, answer, facts("unknown", doubted_hours=30, reviewed=True))
    assert (later.event, later.needs_review) == (None, True)


def test_a_first_not_found_proves_nothing() -> None:
    found = decided(Step.INQUIRE, NotFound(), facts("unknown", doubted_hours=0.1))
    assert (found.status, found.attempt_outcome, found.not_found) == (None, "unknown", True)
    assert not found.outcome_known


@pytest.mark.parametrize("seconds", [0, 1, 30, 59.9])
def test_a_second_not_found_that_came_too_soon_is_inquired_again_later(seconds: float) -> None:
    found = decided(
        Step.INQUIRE, NotFound(), facts("unknown", doubted_hours=0.1, not_found_seconds_ago=seconds, inquiries=7)
    )
    assert found.attempt_outcome == "unknown"
    assert found.due_in_seconds is not None
    assert 0 < found.due_in_seconds <= 60.05 - seconds


@pytest.mark.parametrize("seconds", [60, 61, 100_000])
def test_two_not_founds_far_enough_apart_allow_the_same_reference_again(seconds: float) -> None:
    found = decided(Step.INQUIRE, NotFound(), facts("unknown", doubted_hours=0.1, not_found_seconds_ago=seconds))
    assert (found.status, found.attempt_outcome, found.due_in_seconds) == (None, "not_found", 0)
    assert not found.outcome_known
    assert next_step(facts("not_found")) is Step.RESEND


def test_nothing_is_ever_resent_to_a_provider_that_does_not_deduplicate() -> None:
    doubted = facts("unknown", doubted_hours=1, not_found_seconds_ago=3_600, deduplicates=False)
    found = decided(Step.INQUIRE, NotFound(), doubted)
    assert found.attempt_outcome == "unknown"
    assert found.due_in_seconds
    assert found.due_in_seconds > 0


@pytest.mark.parametrize("step", ASKING)
def test_a_qr_code_is_shown_once_and_polled_as_the_provider_advises(step: Step) -> None:
    found = decided(step, ActionRequired(CODE, "r1"))
    assert (found.event, found.status) == (Remark.ASK_CUSTOMER, None)
    assert found.next_action == CODE
    assert found.due_in_seconds == POLL_SECONDS
    assert 2 <= POLL_SECONDS <= 3
    again = decided(step, ActionRequired(CODE, "r1"), facts("action_required"))
    assert again.event is None
    assert again.next_action == CODE


def test_code_found_after_a_doubt_is_shown_again() -> None:
    found = decided(Step.INQUIRE, ActionRequired(CODE), facts("action_required", doubted_hours=1))
    assert found.event is Remark.ASK_CUSTOMER
    assert found.outcome_known


def test_a_withdrawal_answered_not_found_twice_is_repeated_only_after_a_pause() -> None:
    lost = facts("unknown", doubted_hours=0.1, cancelled=True, not_found_seconds_ago=61, inquiries=5)
    found = decided(Step.WITHDRAW, NotFound(), lost)
    assert (found.status, found.outcome_known, found.attempt_outcome) == (None, False, "unknown")
    assert found.due_in_seconds == 120


@pytest.mark.parametrize(
    ("cancelled", "expired", "reason"),
    [
        (True, False, "requested"),
        (True, True, "requested"),
        (False, True, "expired"),
        (False, False, "withdrawn_by_provider"),
    ],
)
@pytest.mark.parametrize("step", [Step.INQUIRE, Step.WITHDRAW, Step.CHARGE])
def test_payment_that_the_provider_withdrew_is_cancelled_with_its_reason(
    step: Step, cancelled: bool, expired: bool, reason: str
) -> None:
    found = decided(step, Withdrawn(), facts("action_required", cancelled=cancelled, expired=expired))
    assert (found.event, found.status, found.code) == (Event.CANCEL, FinalStatus.CANCELLED, reason)
    assert found.attempt_outcome == "withdrawn"


def test_unsent_payment_that_expired_or_is_cancelled_ends_without_a_call() -> None:
    found = decided(Step.CANCEL, None, facts(sent=False, expired=True))
    assert (found.event, found.status, found.code) == (Event.CANCEL, FinalStatus.CANCELLED, "expired")


FINAL_ANSWERS = (Succeeded(1_000), Declined("no"), Withdrawn(), None)
OPEN_ANSWERS = (Unknown("?"), Unavailable("503"), NotFound(), ActionRequired(CODE), Succeeded(1))


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("answer", OPEN_ANSWERS)
@pytest.mark.parametrize("step", [Step.INQUIRE, Step.WITHDRAW, Step.RESEND])
def test_no_uncertain_answer_ends_a_payment_in_doubt(step: Step, answer: Answer, outcome: str | None) -> None:
    found = decided(step, answer, facts(outcome, number=MAX_RETRIES, doubted_hours=100))
    assert found.status is None


@pytest.mark.parametrize("step", ASKING)
@pytest.mark.parametrize("answer", [*FINAL_ANSWERS, *OPEN_ANSWERS])
def test_every_decision_ends_the_payment_or_makes_it_due_again_or_requests_a_review(
    step: Step, answer: Answer | None
) -> None:
    found = decided(step, answer)
    assert (found.status is not None) != (found.due_in_seconds is not None or found.needs_review)

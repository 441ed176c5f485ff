"""A success that cannot be right is reversed or reviewed, and the answers to its reversal are handled."""

import pytest

from tests.unit.processing.situations import decided, facts
from workflows.processing.decision import FinalStatus, Remark
from workflows.processing.next_step import Step, next_step
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


@pytest.mark.parametrize("fee", [-1, 1_001, 2**63 - 1, -(2**63) + 1])
@pytest.mark.parametrize("step", ASKING)
def test_success_with_a_fee_outside_its_amount_does_not_complete_the_payment(step: Step, fee: int) -> None:
    found = decided(step, Succeeded(1_000, "r1", fee=fee))
    assert (found.status, found.event, found.code) == (None, Remark.REQUEST_REVIEW, "fee_out_of_range")
    assert (found.needs_review, found.outcome_known, found.due_in_seconds) == (True, False, None)


@pytest.mark.parametrize("fee", [0, 1, 1_000])
def test_success_with_a_fee_up_to_its_amount_completes_the_payment(fee: int) -> None:
    assert decided(Step.CHARGE, Succeeded(1_000, fee=fee)).status is FinalStatus.COMPLETED


DISBELIEVED = (Succeeded(400), Succeeded(1_000, fee=1_001))


@pytest.mark.parametrize("answer", DISBELIEVED)
@pytest.mark.parametrize("step", ASKING)
def test_an_impossible_success_is_reversed_at_once_if_a_cancel_was_requested(step: Step, answer: Answer) -> None:
    found = decided(step, answer, facts("unknown", cancelled=True))
    assert (found.status, found.due_in_seconds, found.attempt_outcome) == (None, 0, "succeeded")
    assert next_step(facts("succeeded", cancelled=True)) is Step.REVERSE


def test_a_confirmed_reversal_cancels_the_payment() -> None:
    found = decided(Step.REVERSE, Withdrawn(), facts("succeeded", cancelled=True, reviewed=True))
    assert (found.status, found.code, found.attempt_outcome) == (FinalStatus.CANCELLED, "requested", "withdrawn")
    assert not found.needs_review


@pytest.mark.parametrize("answer", DISBELIEVED)
def test_refused_reversal_waits_for_a_review(answer: Answer) -> None:
    found = decided(Step.REVERSE, answer, facts("succeeded", cancelled=True, reviewed=True))
    assert (found.event, found.status, found.due_in_seconds, found.needs_review) == (None, None, None, True)


@pytest.mark.parametrize("answer", [Declined("no"), ActionRequired(None), NotFound(), Unknown("?")])
def test_no_other_answer_to_a_reversal_ends_the_payment_and_the_provider_is_asked(answer: Answer) -> None:
    found = decided(Step.REVERSE, answer, facts("succeeded", cancelled=True, reviewed=True))
    assert (found.status, found.attempt_outcome, found.due_in_seconds) == (None, "unknown", 2)
    assert next_step(facts("unknown", cancelled=True)) is Step.WITHDRAW


def test_reversal_that_did_not_arrive_is_sent_again() -> None:
    found = decided(Step.REVERSE, Unavailable("503"), facts("succeeded", cancelled=True, reviewed=True, inquiries=2))
    assert (found.status, found.attempt_outcome, found.due_in_seconds) == (None, None, 15)

"""A payment decision translates to a refund event: every answer to every step is allowed by the refund's table."""

from datetime import UTC, datetime

import pytest

from workflows.processing.decide import RetryPolicy, decide
from workflows.processing.decision import Decision, Event, Remark
from workflows.processing.next_step import Attempt, Facts, Step, next_step
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
from workflows.refunds.record import as_refund
from workflows.refunds.states import REFUND, RefundStatus
from workflows.refunds.workload import NO_EXPIRY

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
SCHEDULE = RetryPolicy(max_processing_seconds=60, review_after_seconds=86_400)
ANSWERS: tuple[Answer, ...] = (
    Succeeded(300),
    Succeeded(299),
    Declined("no"),
    Declined("try_again_later", is_retriable=True),
    ActionRequired(None),
    Unavailable("503"),
    Unknown("?"),
    NotFound(),
    Withdrawn(),
)
ATTEMPTS = (
    None,
    *(Attempt(1, outcome) for outcome in (None, "unknown", "unavailable", "action_required", "not_found")),
)
REMARKS = {str(remark) for remark in REFUND.remarks}
EDGES = {(str(edge.event), str(edge.target)) for edge in REFUND.transitions if edge.source == RefundStatus.PROCESSING}
OUTCOMES = {"succeeded", "declined", "unavailable", "unknown", "not_found", "action_required"}
"""The values that the CHECK of ``refund_attempts`` allows."""


def facts(attempt: Attempt | None, *, is_doubted: bool) -> Facts:
    return Facts(
        amount=300,
        now=NOW,
        expires_at=NO_EXPIRY,
        cancel_requested=False,
        is_local=False,
        attempt=attempt,
        outcome_known=not is_doubted,
        in_doubt_since=NOW if is_doubted else None,
    )


@pytest.mark.parametrize("is_doubted", [True, False])
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_every_decision_for_a_refund_is_an_edge_or_remark_of_its_table(
    answer: Answer, attempt: Attempt | None, *, is_doubted: bool
) -> None:
    known = facts(attempt, is_doubted=is_doubted)
    said = as_refund(decide(next_step(known), answer, facts=known, policy=SCHEDULE))
    if said["status"] is None:
        assert said["event"] is None or said["event"] in REMARKS
    else:
        assert (said["event"], said["status"]) in EDGES
    assert said["attempt_outcome"] is None or said["attempt_outcome"] in OUTCOMES


@pytest.mark.parametrize(
    ("said", "event", "status"),
    [
        (Decision(Remark.ASK_CUSTOMER), "await_provider", None),
        (Decision(Event.CANCEL, attempt_outcome="withdrawn"), "fail", "failed"),
        (Decision(Event.COMPLETE), "complete", "completed"),
        (Decision(Remark.DOUBT), "doubt", None),
        (Decision(), None, None),
    ],
)
def test_only_two_events_of_a_refund_differ_in_name_from_a_payments(
    said: Decision, event: str | None, status: str | None
) -> None:
    found = as_refund(said)
    assert (found["event"], found["status"]) == (event, status)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_a_refund_is_never_withdrawn_however_old_it_is(attempt: Attempt | None) -> None:
    assert next_step(facts(attempt, is_doubted=False)) not in (Step.WITHDRAW, Step.CANCEL)

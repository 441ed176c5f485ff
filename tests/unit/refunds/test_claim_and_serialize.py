"""A claimed refund builds the right provider request, and a serialised refund has the contract's fields."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from api.schemas.refunds import RefundOut
from workflows.processing.leases import Claim
from workflows.processing.next_step import Attempt, Step
from workflows.providers.base import ChargeRefund
from workflows.refunds.models import ClaimedRefund, Refund
from workflows.refunds.queries import FIELDS, refund_fields
from workflows.refunds.workload import REFUNDS
from workflows.tenants.scope import PROGRESS

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ROW: dict[str, Any] = {
    "id": "rfd_1",
    "fence": 4,
    "provider": "sandbox",
    "payment_id": "pay_1",
    "store_id": "sto_1",
    "amount": 300,
    "currency": "KWD",
    "metadata": {"sandbox": "approve"},
    "charge_reference": "pay_1:2",
    "report": None,
    "bill_id": "bil_1",
    "request_id": "req_1",
    "now": NOW,
    "created_at": NOW,
    "outcome_known": True,
    "in_doubt_since": None,
    "needs_review": False,
    "inquiries": 0,
}


def claimed(attempt: Attempt | None, **changes: Any) -> Claim[ChargeRefund]:
    return REFUNDS.build(cast(ClaimedRefund, {**ROW, **changes}), attempt)


@pytest.mark.parametrize(
    ("attempt", "step", "number"),
    [
        (None, Step.CHARGE, 1),
        (Attempt(1, None), Step.INQUIRE, 1),
        (Attempt(1, "unknown"), Step.INQUIRE, 1),
        (Attempt(1, "action_required"), Step.INQUIRE, 1),
        (Attempt(1, "not_found"), Step.RESEND, 1),
        (Attempt(1, "unavailable"), Step.RETRY, 1),
        (Attempt(2, "declined"), Step.CHARGE, 3),
    ],
)
def test_new_reference_is_used_only_after_an_attempt_that_moved_nothing(
    attempt: Attempt | None, step: Step, number: int
) -> None:
    found = claimed(attempt)
    assert (found.step, found.attempt_number, found.request.reference) == (step, number, f"rfd_1:{number}")


def test_request_to_the_provider_names_the_charge_and_the_exact_amount() -> None:
    asked = claimed(None).request
    assert (asked.payment_id, asked.charge_reference, asked.amount, asked.currency) == ("pay_1", "pay_1:2", 300, "KWD")
    assert asked.metadata == {"sandbox": "approve"}


@pytest.mark.parametrize("provider", ["cash", "external"])
def test_local_provider_is_always_asked_to_refund_again(provider: str) -> None:
    assert claimed(Attempt(1, None), provider=provider, charge_reference=None).step is Step.CHARGE


def test_the_fields_are_those_of_the_document_and_of_the_table() -> None:
    assert {*FIELDS, *PROGRESS} == set(RefundOut.model_fields)
    columns = set(Refund.__table__.columns.keys())
    assert {*FIELDS, *PROGRESS} <= columns


def test_columns_absent_from_a_refund_are_rendered_as_null() -> None:
    shown = refund_fields({"id": "rfd_1", "status": "pending"})
    assert list(shown) == list(FIELDS)
    assert (shown["status"], shown["provider_reference"], shown["completed_at"]) == ("pending", None, None)

"""Claim: take refunds in hand by the same lease as payments (``workflows.payments.leases``)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from workflows.payments.leases import LeaseTable, attempt_number, facts_of
from workflows.payments.next_step import Attempt, Facts, Step, next_step
from workflows.providers.base import GiveBack
from workflows.providers.registry import is_local

NEVER = datetime.max.replace(tzinfo=UTC)
"""A refund that was asked for does not expire: the customer is owed the money."""


@dataclass(frozen=True, slots=True)
class ClaimedRefund:
    """A refund this worker may work on, until its lease ends."""

    id: str
    fence: int
    provider: str
    step: Step
    attempt_number: int
    refund: GiveBack
    facts: Facts
    request_id: str | None
    bill_id: str | None


def _build(row: dict[str, Any], attempt: Attempt | None) -> ClaimedRefund:
    facts = facts_of(
        row,
        attempt,
        amount=row["amount"],
        expires_at=NEVER,
        cancel_requested=False,
        is_local=is_local(row["provider"]),
    )
    step = next_step(facts)
    number = attempt_number(step, attempt)
    refund = GiveBack(
        reference=f"{row['id']}:{number}",
        payment_id=row["payment_id"],
        account=row["store_id"],
        charge_reference=row["charge_reference"] or "",
        amount=row["amount"],
        currency=row["currency"],
        metadata=row["metadata"],
    )
    return ClaimedRefund(
        id=row["id"],
        fence=row["fence"],
        provider=row["provider"],
        step=step,
        attempt_number=number,
        refund=refund,
        facts=facts,
        request_id=row["request_id"],
        bill_id=row["bill_id"],
    )


REFUNDS = LeaseTable(
    entity="refund",
    columns="""r.payment_id, r.amount, r.currency, r.metadata, (
        SELECT a.reference FROM payment_attempts a
        WHERE a.payment_id = r.payment_id AND a.outcome = 'succeeded' ORDER BY a.number DESC LIMIT 1
    ) AS charge_reference, (SELECT p.bill_id FROM payments p WHERE p.id = r.payment_id) AS bill_id""",
    build=_build,
)

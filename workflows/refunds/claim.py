"""Claim: take refunds in hand by the same lease as payments (``workflows.processing.leases``)."""

from datetime import UTC, datetime, timedelta
from typing import Any

from workflows.processing.leases import LeaseTable, facts_of
from workflows.processing.next_step import Attempt, Facts
from workflows.providers.base import GiveBack

NEVER = datetime.max.replace(tzinfo=UTC)
"""A refund that was asked for does not expire: the customer is owed the money."""

PATIENCE = timedelta(hours=1)
"""How long a provider that took a refund on may let it wait, before a person has to know of it."""


def _facts(row: dict[str, Any], attempt: Attempt | None) -> Facts:
    return facts_of(
        row,
        attempt,
        amount=row["amount"],
        expires_at=NEVER,
        patient_until=row["created_at"] + PATIENCE,
        cancel_requested=False,
    )


def _give_back(row: dict[str, Any], facts: Facts, reference: str) -> GiveBack:
    return GiveBack(
        reference=reference,
        payment_id=row["payment_id"],
        account=row["store_id"],
        charge_reference=row["charge_reference"] or "",
        amount=facts.amount,
        currency=row["currency"],
        metadata=row["metadata"],
        report=row.get("report") or {},
    )


REFUNDS = LeaseTable(
    entity="refund",
    columns="""r.payment_id, r.amount, r.currency, r.metadata, r.created_at, r.report, (
        SELECT a.reference FROM payment_attempts a
        WHERE a.payment_id = r.payment_id AND a.outcome = 'succeeded' ORDER BY a.number DESC LIMIT 1
    ) AS charge_reference, (SELECT p.bill_id FROM payments p WHERE p.id = r.payment_id) AS bill_id""",
    facts=_facts,
    asks=_give_back,
    startable="AND NOT needs_action",  # even if a message names it: the money has not been given back yet
)

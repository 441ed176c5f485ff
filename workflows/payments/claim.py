"""Claim: take payments in hand by lease (``leases``), and know what each of them needs.

A payment that expired before its first claim is claimed too, without an attempt: it is cancelled, and no call is made to a
provider. A report (cash, the terminal's own card application) never expires: the money has moved already.
"""

from typing import Any

from workflows.processing.leases import LeaseTable, facts_of
from workflows.processing.next_step import Attempt, Facts
from workflows.providers.base import Charge

FACTS = ("provider_token", "external_result", "card_arn", "slip_number")
"""Columns that the terminal filled and only some providers look at."""


def _facts(row: dict[str, Any], attempt: Attempt | None) -> Facts:
    return facts_of(
        row,
        attempt,
        amount=row["amount"] + row["tip_amount"],
        expires_at=row["expires_at"],
        cancel_requested=row["cancel_requested_at"] is not None,
    )


def _charge(row: dict[str, Any], facts: Facts, reference: str) -> Charge:
    return Charge(
        reference=reference,
        payment_id=row["id"],
        account=row["store_id"],
        amount=facts.amount,
        currency=row["currency"],
        method_type=row["method_type"],
        method_mode=row["method_mode"],
        expires_in_seconds=(row["expires_at"] - row["now"]).total_seconds(),
        metadata=row["metadata"],
        facts={name: row[name] for name in FACTS},
    )


PAYMENTS = LeaseTable(
    entity="payment",
    columns=f"""r.amount, r.tip_amount, r.currency, r.method_type, r.method_mode, r.metadata, r.expires_at,
        r.cancel_requested_at, r.bill_id, {", ".join(f"r.{name}" for name in FACTS)}""",
    facts=_facts,
    asks=_charge,
    unwanted="(cancel_requested_at IS NOT NULL OR expires_at <= now())",
    first_attempt="CASE WHEN r.expires_at > now() OR r.processing_mode <> 'provider' THEN 1 ELSE 0 END",
)

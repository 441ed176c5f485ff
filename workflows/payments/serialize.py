"""Render a payment as the fields of the API's contract.

The answer of an accept is stored beside its key and repeated byte for byte, so the domain renders it, not the web framework.
"""

from collections.abc import Mapping
from typing import Any

from workflows.payments.codes import Advice

FIELDS = (
    "id",
    "status",
    "version",
    "amount",
    "tip_amount",
    "currency",
    "captured_amount",
    "refunded_amount",
    "method",
    "processing_mode",
    "provider",
    "provider_reference",
    "approval_code",
    "card_brand",
    "card_last_4",
    "cash_received",
    "change_amount",
    "bill_id",
    "order_id",
    "device_id",
    "store_id",
    "merchant_id",
    "client_reference",
    "next_action",
    "failure_code",
    "failure_message",
    "cancel_requested_at",
    "cancel_reason",
    "cancel_outcome",
    "outcome_known",
    "advice",
    "needs_review",
    "needs_action",
    "settlement_id",
    "metadata",
    "expires_at",
    "created_at",
    "processing_at",
    "completed_at",
    "failed_at",
    "cancelled_at",
    "refunded_at",
)
"""The fields of a payment in answers, in this order."""


def payment_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the contract for ``row``; absent columns of ``payments`` are null."""
    special = {
        "method": {"type": row["method_type"], "mode": row.get("method_mode")},
        "advice": None if row.get("outcome_known", True) else Advice.DO_NOT_CHARGE_AGAIN,
        # A report of money that has moved does not expire; its column only bounds how soon it must be recorded (I9).
        "expires_at": row.get("expires_at") if row["processing_mode"] == "provider" else None,
    }
    return {name: special[name] if name in special else row.get(name) for name in FIELDS}

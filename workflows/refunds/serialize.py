"""A refund as the contract shows it."""

from collections.abc import Mapping
from typing import Any

FIELDS = (
    "id",
    "payment_id",
    "status",
    "version",
    "amount",
    "currency",
    "reason",
    "staff_code",
    "provider",
    "provider_reference",
    "failure_code",
    "failure_message",
    "outcome_known",
    "needs_review",
    "needs_action",
    "report",
    "settlement_id",
    "store_id",
    "merchant_id",
    "metadata",
    "created_at",
    "reported_at",
    "processing_at",
    "completed_at",
    "failed_at",
)
"""The fields of a refund in answers, in this order."""


def refund_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` (the columns of ``refunds``, absent ones taken as null) as the fields of the contract."""
    return {name: row.get(name) for name in FIELDS}

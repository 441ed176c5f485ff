"""Render a refund as the fields of the API's contract."""

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
    """Return the fields of the contract for ``row``; absent columns of ``refunds`` are null."""
    return {name: row.get(name) for name in FIELDS}

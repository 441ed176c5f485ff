"""A bill as the contract shows it: from its row to the fields of `api.md`."""

from collections.abc import Mapping
from typing import Any

from workflows.bills.balance import balance_of

FIELDS = (
    "id",
    "bill_number",
    "order_ids",
    "parent_bill_id",
    "status",
    "currency",
    "subtotal",
    "tax_amount",
    "discount_amount",
    "total_amount",
    "paid_amount",
    "reserved_amount",
    "balance_amount",
    "refunded_amount",
    "paid_at",
    "voided_at",
    "store_id",
    "merchant_id",
    "version",
    "created_at",
    "updated_at",
)
"""The fields of a bill in answers, in this order. ``balance_amount`` is what a new payment may take."""


def bill_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` (the columns of ``bills`` with its ``order_ids``) as the fields of the contract."""
    special = {"balance_amount": balance_of(row).available}
    return {name: special[name] if name in special else row.get(name) for name in FIELDS}

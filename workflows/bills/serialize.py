"""Turn a bill's row into the fields of the contract."""

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
"""The fields of a bill in answers, in this order.

``balance_amount`` is the amount that a new payment may have.
"""


def bill_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``row``, the columns of ``bills`` with ``order_ids``."""
    special = {"balance_amount": balance_of(row).available}
    return {name: special[name] if name in special else row.get(name) for name in FIELDS}

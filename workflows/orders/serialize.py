"""Turn an order's rows into the fields of the contract."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

FIELDS = (
    "id",
    "order_number",
    "order_type",
    "table_number",
    "status",
    "currency",
    "items",
    "subtotal",
    "tax_amount",
    "discount_amount",
    "total_amount",
    "bill_ids",
    "device_id",
    "store_id",
    "merchant_id",
    "version",
    "created_at",
    "updated_at",
    "submitted_at",
    "paid_at",
    "completed_at",
    "cancelled_at",
)
"""The fields of an order in answers, in this order."""

ITEM_FIELDS = ("id", "name", "quantity", "unit_price", "tax_rate", "subtotal")


def order_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``row``, the columns of ``orders`` with ``items`` and ``bill_ids``."""
    special = {"items": _items(row["items"])}
    return {name: special[name] if name in special else row.get(name) for name in FIELDS}


def _items(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**{name: item[name] for name in ITEM_FIELDS}, "tax_rate": rate(item["tax_rate"])} for item in items]


def rate(value: Decimal) -> str:
    """Return a tax rate as text, as it was sent: ``0.08``, never ``8E-2``."""
    return format(value, "f")

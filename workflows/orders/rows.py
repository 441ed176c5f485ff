"""Declare the rows of orders and their items, as the use-cases read them.

``tests/unit/database/test_row_types.py`` compares them with the columns of the tables.
"""

from datetime import datetime
from decimal import Decimal
from typing import TypedDict


class OrderRow(TypedDict):
    """A row of ``orders``."""

    id: str
    merchant_id: str
    store_id: str
    device_id: str | None
    order_number: str
    order_type: str
    table_number: str | None
    status: str
    version: int
    currency: str
    subtotal: int
    tax_amount: int
    discount_amount: int
    total_amount: int
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime | None
    paid_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None


class LockedOrder(OrderRow):
    """A locked order; ``at`` is the database's clock after the lock."""

    at: datetime


class OrderItemRow(TypedDict):
    """A row of ``order_items``."""

    id: str
    order_id: str
    merchant_id: str
    store_id: str
    position: int
    name: str
    quantity: int
    unit_price: int
    tax_rate: Decimal
    subtotal: int

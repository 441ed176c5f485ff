"""Declare the rows of bills, as the use-cases read them.

``tests/unit/database/test_row_types.py`` compares them with the columns of the tables.
"""

from datetime import datetime
from typing import TypedDict


class BillRow(TypedDict):
    """A row of ``bills``."""

    id: str
    merchant_id: str
    store_id: str
    bill_number: str
    parent_bill_id: str | None
    status: str
    version: int
    currency: str
    subtotal: int
    tax_amount: int
    discount_amount: int
    total_amount: int
    paid_amount: int
    reserved_amount: int
    refunded_amount: int
    item_ids: list[str] | None
    paid_at: datetime | None
    voided_at: datetime | None
    created_at: datetime
    updated_at: datetime


class LockedBillRow(BillRow):
    """A locked bill; ``at`` is the database's clock after the lock."""

    at: datetime

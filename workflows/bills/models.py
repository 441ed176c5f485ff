"""Tables of bills, their orders and their history, and the types of the rows that use-cases read.

``tests/unit/database/test_row_types.py`` compares the row types with the columns.
"""

from datetime import datetime
from typing import TypedDict

from sqlalchemy import BigInteger, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT, HistoryRow
from workflows.tenants.paging import apart_index


class Bill(Base):
    """A bill. ``paid_amount + reserved_amount`` never exceeds ``total_amount``."""

    __tablename__ = "bills"
    __table_args__ = (
        apart_index("bills"),
        UniqueConstraint("store_id", "bill_number", name="bills_number_key"),
        Index("bills_by_store", "store_id", "id"),
        Index("bills_by_parent", "parent_bill_id", postgresql_where=text("parent_bill_id IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    bill_number: Mapped[str] = mapped_column(Text)
    parent_bill_id: Mapped[str | None] = mapped_column(Text, ForeignKey("bills.id", name="bills_parent_fk"))
    status: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    currency: Mapped[str] = mapped_column(Text)
    subtotal: Mapped[int] = mapped_column(BigInteger)
    tax_amount: Mapped[int] = mapped_column(BigInteger)
    discount_amount: Mapped[int] = mapped_column(BigInteger)
    total_amount: Mapped[int] = mapped_column(BigInteger)
    paid_amount: Mapped[int] = mapped_column(BigInteger)
    reserved_amount: Mapped[int] = mapped_column(BigInteger)
    refunded_amount: Mapped[int] = mapped_column(BigInteger)
    item_ids: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    paid_at: Mapped[datetime | None] = mapped_column(INSTANT)
    voided_at: Mapped[datetime | None] = mapped_column(INSTANT)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    updated_at: Mapped[datetime] = mapped_column(INSTANT)


class BillOrder(Base):
    """An order that a bill is for. A bill may be for several orders, and an order may have several bills."""

    __tablename__ = "bill_orders"
    __table_args__ = (Index("bill_orders_by_order", "order_id"),)

    bill_id: Mapped[str] = mapped_column(Text, ForeignKey("bills.id", name="bill_orders_bill_fk"), primary_key=True)
    order_id: Mapped[str] = mapped_column(Text, ForeignKey("orders.id", name="bill_orders_order_fk"), primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)


class BillHistory(HistoryRow, Base):
    """The history of a bill, one row per version."""

    __tablename__ = "bill_history"

    bill_id: Mapped[str] = mapped_column(Text, primary_key=True)


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


class BillWithOrders(BillRow):
    """A row of ``bills`` with the ids of its orders."""

    order_ids: list[str]


class LockedBillRow(BillRow):
    """A row of ``bills`` that is locked; ``at`` is the database's time after the lock was granted."""

    at: datetime

"""Tables of orders, their items and their history, and the types of the rows that use-cases read.

``tests/unit/database/test_row_types.py`` compares the row types with the columns.
"""

from datetime import datetime
from decimal import Decimal
from typing import TypedDict

from sqlalchemy import BigInteger, ForeignKey, Index, Numeric, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT, HistoryRow
from workflows.tenants.paging import apart_index


class Order(Base):
    """An order. The server computes its totals."""

    __tablename__ = "orders"
    __table_args__ = (
        apart_index("orders"),
        UniqueConstraint("store_id", "order_number", name="orders_number_key"),
        Index("orders_by_store", "store_id", "id"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    device_id: Mapped[str | None] = mapped_column(Text)
    order_number: Mapped[str] = mapped_column(Text)
    order_type: Mapped[str] = mapped_column(Text)
    table_number: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    currency: Mapped[str] = mapped_column(Text)
    subtotal: Mapped[int] = mapped_column(BigInteger)
    tax_amount: Mapped[int] = mapped_column(BigInteger)
    discount_amount: Mapped[int] = mapped_column(BigInteger)
    total_amount: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    updated_at: Mapped[datetime] = mapped_column(INSTANT)
    submitted_at: Mapped[datetime | None] = mapped_column(INSTANT)
    paid_at: Mapped[datetime | None] = mapped_column(INSTANT)
    completed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    cancelled_at: Mapped[datetime | None] = mapped_column(INSTANT)


class OrderItem(Base):
    """An item of an order, with its quantity and price."""

    __tablename__ = "order_items"
    __table_args__ = (Index("order_items_by_order", "order_id", "position"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    order_id: Mapped[str] = mapped_column(
        Text, ForeignKey("orders.id", name="order_items_order_fk", ondelete="CASCADE")
    )
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    position: Mapped[int]
    name: Mapped[str] = mapped_column(Text)
    quantity: Mapped[int]
    unit_price: Mapped[int] = mapped_column(BigInteger)
    tax_rate: Mapped[Decimal] = mapped_column(Numeric)
    subtotal: Mapped[int] = mapped_column(BigInteger)


class OrderHistory(HistoryRow, Base):
    """The history of an order, one row per version."""

    __tablename__ = "order_history"

    order_id: Mapped[str] = mapped_column(Text, primary_key=True)


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
    """A row of ``orders`` that is locked; ``at`` is the database's time after the lock was granted."""

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

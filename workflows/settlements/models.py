"""The tables of settlements, and the types of their rows.

Statements in SQL return rows as dictionaries. Their types, the TypedDicts at the end, make a wrong column name a type error; a
test compares those whose name ends in ``Row`` with the columns of the tables.
"""

from datetime import date, datetime, time
from typing import Any, TypedDict

from sqlalchemy import BigInteger, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import TIME as PG_TIME
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT, HistoryRow


class Settlement(Base):
    """A store's business day ``[start_at, end_at)`` in one currency. Figures are null until it is closed."""

    __tablename__ = "settlements"
    __table_args__ = (
        UniqueConstraint("store_id", "currency", "start_at", name="settlements_period_key"),
        UniqueConstraint("store_id", "currency", "end_at", name="settlements_period_end_key"),
        Index(
            "settlements_one_open", "store_id", "currency", unique=True, postgresql_where=text("status = 'open'::text")
        ),
        Index("settlements_due", "end_at", postgresql_where=text("status = 'open'::text")),
        Index("settlements_closed", "end_at", postgresql_where=text("status = 'closed'::text")),
        Index("settlements_by_store", "store_id", "id"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    business_date: Mapped[date]
    start_at: Mapped[datetime] = mapped_column(INSTANT)
    end_at: Mapped[datetime] = mapped_column(INSTANT)
    time_zone: Mapped[str] = mapped_column(Text)
    cut_off: Mapped[time] = mapped_column(PG_TIME)
    status: Mapped[str] = mapped_column(Text)
    version: Mapped[int]

    line_count: Mapped[int | None] = mapped_column(BigInteger)
    gross_amount: Mapped[int | None] = mapped_column(BigInteger)
    refunds_amount: Mapped[int | None] = mapped_column(BigInteger)
    fees_amount: Mapped[int | None] = mapped_column(BigInteger)
    adjustments_amount: Mapped[int | None] = mapped_column(BigInteger)
    net_amount: Mapped[int | None] = mapped_column(BigInteger)
    breakdown: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    late_count: Mapped[int | None] = mapped_column(BigInteger)
    in_doubt_count: Mapped[int | None] = mapped_column(BigInteger)
    in_doubt_amount: Mapped[int | None] = mapped_column(BigInteger)
    cash_expected: Mapped[int | None] = mapped_column(BigInteger)

    cash_actual: Mapped[int | None] = mapped_column(BigInteger)
    note: Mapped[str | None] = mapped_column(Text)
    open_breaks: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    closed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    reconciled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    reconciled_by: Mapped[str | None] = mapped_column(Text)
    uncompared: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class SettlementHistory(HistoryRow, Base):
    """The history of a settlement: one row per version."""

    __tablename__ = "settlement_history"

    settlement_id: Mapped[str] = mapped_column(Text, primary_key=True)


class SettlementLine(Base):
    """A payment, refund or correction as a line of its settlement. Each belongs to one settlement only."""

    __tablename__ = "settlement_lines"
    __table_args__ = (
        Index("settlement_lines_by_settlement", "settlement_id", "entity_id"),
        Index("settlement_lines_of_corrected", "payment_id", postgresql_where=text("kind = 'adjustment'")),
        Index("settlement_lines_corrections", "store_id", postgresql_where=text("kind = 'adjustment'")),
    )

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    entity_id: Mapped[str] = mapped_column(Text, primary_key=True)
    settlement_id: Mapped[str] = mapped_column(Text)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    payment_id: Mapped[str | None] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    provider_reference: Mapped[str | None] = mapped_column(Text)
    our_reference: Mapped[str | None] = mapped_column(Text)
    method_type: Mapped[str | None] = mapped_column(Text)
    brand: Mapped[str | None] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    tip_amount: Mapped[int] = mapped_column(BigInteger)
    fee: Mapped[int] = mapped_column(BigInteger)
    occurred_at: Mapped[datetime] = mapped_column(INSTANT)
    business_date: Mapped[date]
    is_late: Mapped[bool]


class SettlementOverride(Base):
    """A business day whose end differs from its store's rule. ``ends_at_local`` is in the store's local time."""

    __tablename__ = "settlement_overrides"

    store_id: Mapped[str] = mapped_column(Text, primary_key=True)
    business_date: Mapped[date] = mapped_column(primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    ends_at_local: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=False))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    created_by: Mapped[str] = mapped_column(Text)


class StatementPolicy(Base):
    """Whether a provider sends statements for a store. Append-only: the newest row of a provider is in force."""

    __tablename__ = "statement_policies"

    store_id: Mapped[str] = mapped_column(
        Text, ForeignKey("stores.id", name="statement_policies_store_fk"), primary_key=True
    )
    provider: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    statements: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[datetime] = mapped_column(INSTANT)
    changed_by: Mapped[str] = mapped_column(Text)


class SettlementFigures(TypedDict):
    """The columns of ``settlements`` that a close freezes. Amounts are minor units."""

    line_count: int
    gross_amount: int
    refunds_amount: int
    fees_amount: int
    adjustments_amount: int
    net_amount: int
    breakdown: dict[str, Any]
    late_count: int
    in_doubt_count: int
    in_doubt_amount: int
    cash_expected: int


class SettlementRow(TypedDict):
    """A row of ``settlements``. The figures are null until the settlement is closed."""

    id: str
    merchant_id: str
    store_id: str
    currency: str
    business_date: date
    start_at: datetime
    end_at: datetime
    time_zone: str
    cut_off: time
    status: str
    version: int
    line_count: int | None
    gross_amount: int | None
    refunds_amount: int | None
    fees_amount: int | None
    adjustments_amount: int | None
    net_amount: int | None
    breakdown: dict[str, Any] | None
    late_count: int | None
    in_doubt_count: int | None
    in_doubt_amount: int | None
    cash_expected: int | None
    cash_actual: int | None
    note: str | None
    open_breaks: int
    created_at: datetime
    closed_at: datetime | None
    reconciled_at: datetime | None
    reconciled_by: str | None
    uncompared: dict[str, Any] | None


class LockedSettlement(SettlementRow):
    """The row of a settlement that this transaction has locked; ``now`` is the time after the lock was taken."""

    now: datetime


class RunningPeriod(TypedDict):
    """The columns of an open settlement that determine when it ends."""

    id: str
    store_id: str
    start_at: datetime
    end_at: datetime
    time_zone: str
    cut_off: time


class LockedPeriod(RunningPeriod):
    """The columns of a locked settlement that its close needs; ``at`` is the time of the lock."""

    currency: str
    status: str
    at: datetime


class SettlementLineRow(TypedDict):
    """A row of ``settlement_lines``. ``amount`` is signed minor units, below zero for refunds."""

    kind: str
    entity_id: str
    settlement_id: str
    merchant_id: str
    store_id: str
    payment_id: str | None
    provider: str
    provider_reference: str | None
    our_reference: str | None
    method_type: str | None
    brand: str | None
    currency: str
    amount: int
    tip_amount: int
    fee: int
    occurred_at: datetime
    business_date: date
    is_late: bool


class ListedLine(SettlementLineRow):
    """A line in a list; ``id`` is the key from which the next page continues."""

    id: str

"""The tables of archived months, and what the live books keep of them (migration 0040)."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT


class ArchivedMonth(Base):
    """A month whose tables were moved to the schema ``archive``, and perhaps dropped from there.

    Its ids have times from ``low``, below ``high``. ``checksum`` is that of its carried rows.
    """

    __tablename__ = "archived_months"

    month: Mapped[str] = mapped_column(Text, primary_key=True)
    low: Mapped[str] = mapped_column(Text)
    high: Mapped[str] = mapped_column(Text)
    archived_at: Mapped[datetime] = mapped_column(INSTANT)
    archived_by: Mapped[str] = mapped_column(Text)
    dropped_at: Mapped[datetime | None] = mapped_column(INSTANT)
    checksum: Mapped[int] = mapped_column(Numeric)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSONB)


class CarriedBalance(Base):
    """The sum that the journals of one kind moved on an account, for the settlement that has their lines."""

    __tablename__ = "carried_balances"
    __table_args__ = (Index("carried_balances_by_settlement", "settlement_id"),)

    account_id: Mapped[str] = mapped_column(Text, primary_key=True)
    month: Mapped[str] = mapped_column(Text, primary_key=True)
    store_id: Mapped[str] = mapped_column(Text, primary_key=True)
    settlement_id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    entries: Mapped[int] = mapped_column(BigInteger)


class CarriedBill(Base):
    """The sums of the payments of a month that were for one bill.

    ``retained`` is what is left after refunds. ``unrefunded`` payments are not refunded in full. ``counted`` payments were
    captured and count towards the bill; ``counted_unrefunded`` of them are not refunded in full.
    """

    __tablename__ = "carried_bills"

    bill_id: Mapped[str] = mapped_column(Text, primary_key=True)
    month: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    payments: Mapped[int] = mapped_column(BigInteger)
    retained: Mapped[int] = mapped_column(BigInteger)
    unrefunded: Mapped[int] = mapped_column(BigInteger)
    counted: Mapped[int] = mapped_column(BigInteger)
    counted_unrefunded: Mapped[int] = mapped_column(BigInteger)


class CarriedRefunds(Base):
    """The refunded amount of the payments of a month, per store, currency and provider. The refunds themselves stay."""

    __tablename__ = "carried_refunds"

    month: Mapped[str] = mapped_column(Text, primary_key=True)
    store_id: Mapped[str] = mapped_column(Text, primary_key=True)
    currency: Mapped[str] = mapped_column(Text, primary_key=True)
    provider: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    refunds: Mapped[int] = mapped_column(BigInteger)
    refunded: Mapped[int] = mapped_column(BigInteger)


class ArchiveLog(Base):
    """A log of what was done to months, when and by whom. The database refuses to change or delete a row."""

    __tablename__ = "archive_log"

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT)
    month: Mapped[str] = mapped_column(Text)
    event: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)

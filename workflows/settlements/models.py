"""The rows of a settlement period."""

from datetime import date, datetime

from sqlalchemy import Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database import Base
from workflows.history import INSTANT, HistoryRow


class Settlement(Base):
    """A store's business day in one currency: ``[start_at, end_at)``."""

    __tablename__ = "settlements"
    __table_args__ = (UniqueConstraint("store_id", "currency", "start_at", name="settlements_period_key"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    business_date: Mapped[date]
    start_at: Mapped[datetime] = mapped_column(INSTANT)
    end_at: Mapped[datetime] = mapped_column(INSTANT)
    status: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    closed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    reconciled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    reconciled_by: Mapped[str | None] = mapped_column(Text)


class SettlementHistory(HistoryRow, Base):
    """What happened to a settlement, one row per version."""

    __tablename__ = "settlement_history"

    settlement_id: Mapped[str] = mapped_column(Text, primary_key=True)

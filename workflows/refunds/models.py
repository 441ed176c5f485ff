"""The rows of a refund."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database import Base
from workflows.history import INSTANT, AttemptRow, HistoryRow, LeasedRow, MessageRow


class Refund(LeasedRow, Base):
    """Some or all of a payment on its way back."""

    __tablename__ = "refunds"
    __table_args__ = (
        Index("refunds_by_payment", "payment_id", "id"),
        Index("refunds_by_store", "store_id", "id"),
        Index("refunds_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index(
            "refunds_unsettled",
            "store_id",
            "currency",
            "completed_at",
            postgresql_where=text("settlement_id IS NULL AND completed_at IS NOT NULL"),
        ),
        Index("refunds_in_doubt", "store_id", "currency", postgresql_where=text("NOT outcome_known")),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    payment_id: Mapped[str] = mapped_column(Text, ForeignKey("payments.id", name="refunds_payment_fk"))
    settlement_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    fee: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text)
    staff_code: Mapped[str] = mapped_column(Text)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    provider: Mapped[str] = mapped_column(Text)
    provider_reference: Mapped[str | None] = mapped_column(Text)
    failure_code: Mapped[str | None] = mapped_column(Text)
    failure_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    processing_at: Mapped[datetime | None] = mapped_column(INSTANT)
    completed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    failed_at: Mapped[datetime | None] = mapped_column(INSTANT)


class RefundHistory(HistoryRow, Base):
    """What happened to a refund, one row per version."""

    __tablename__ = "refund_history"

    refund_id: Mapped[str] = mapped_column(Text, primary_key=True)


class RefundAttempt(AttemptRow, Base):
    """One claim to ask a provider to give money back, and its outcome."""

    __tablename__ = "refund_attempts"
    __table_args__ = (UniqueConstraint("reference", name="refund_attempts_reference_key"),)

    refund_id: Mapped[str] = mapped_column(Text, primary_key=True)


class RefundMessage(MessageRow, Base):
    """A question about an attempt and its answer, or an answer that came too late to be recorded."""

    __tablename__ = "refund_messages"

    refund_id: Mapped[str] = mapped_column(Text, primary_key=True)

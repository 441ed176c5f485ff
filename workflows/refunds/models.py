"""Map the tables of refunds: refunds, their history, attempts and provider messages."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT, AttemptRow, HistoryRow, LeasedRow, MessageRow, leased_indexes


class Refund(LeasedRow, Base):
    """A refund of some or all of a payment."""

    __tablename__ = "refunds"
    __table_args__ = (
        Index("refunds_by_payment", "payment_id", "id"),
        Index("refunds_needing_action", "store_id", "id", postgresql_where=text("needs_action")),
        *leased_indexes("refunds"),
    )

    payment_id: Mapped[str] = mapped_column(Text, ForeignKey("payments.id", name="refunds_payment_fk"))
    reason: Mapped[str] = mapped_column(Text)
    staff_code: Mapped[str] = mapped_column(Text)
    needs_action: Mapped[bool]
    report: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    reported_at: Mapped[datetime | None] = mapped_column(INSTANT)


class RefundHistory(HistoryRow, Base):
    """An event of a refund, one row per version."""

    __tablename__ = "refund_history"

    refund_id: Mapped[str] = mapped_column(Text, primary_key=True)


class RefundAttempt(AttemptRow, Base):
    """One request to a provider to refund money, and its outcome."""

    __tablename__ = "refund_attempts"
    __table_args__ = (UniqueConstraint("reference", name="refund_attempts_reference_key"),)

    refund_id: Mapped[str] = mapped_column(Text, primary_key=True)


class RefundMessage(MessageRow, Base):
    """An inquiry about an attempt and its answer, or an answer that arrived too late to be recorded."""

    __tablename__ = "refund_messages"

    refund_id: Mapped[str] = mapped_column(Text, primary_key=True)

"""Map the tables of payments: payments, their history, attempts and provider messages.

The hot paths use set-based SQL on the same tables (``accept``, ``leases``, ``record``); these classes serve the other queries.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT, AttemptRow, HistoryRow, LeasedRow, MessageRow, leased_indexes


class Payment(LeasedRow, Base):
    """One sale at one terminal, from the request to its final status."""

    __tablename__ = "payments"
    __table_args__ = (
        Index(
            "payments_client_reference_key",
            "merchant_id",
            "client_reference",
            unique=True,
            postgresql_where=text("client_reference IS NOT NULL"),
        ),
        Index("payments_by_card", "card_last_4", "id", postgresql_where=text("card_last_4 IS NOT NULL")),
        Index("payments_by_creation", "created_at", postgresql_using="brin", postgresql_with={"pages_per_range": 32}),
        Index("payments_by_bill", "bill_id", "id", postgresql_where=text("bill_id IS NOT NULL")),
        *leased_indexes("payments"),
    )

    device_id: Mapped[str | None] = mapped_column(Text)
    bill_id: Mapped[str | None] = mapped_column(Text)
    order_id: Mapped[str | None] = mapped_column(Text)

    tip_amount: Mapped[int] = mapped_column(BigInteger)
    captured_amount: Mapped[int] = mapped_column(BigInteger)
    refunded_amount: Mapped[int] = mapped_column(BigInteger)
    refund_reserved: Mapped[int] = mapped_column(BigInteger)

    method_type: Mapped[str] = mapped_column(Text)
    method_mode: Mapped[str | None] = mapped_column(Text)
    processing_mode: Mapped[str] = mapped_column(Text)
    provider_token: Mapped[str | None] = mapped_column(Text)
    approval_code: Mapped[str | None] = mapped_column(Text)
    card_brand: Mapped[str | None] = mapped_column(Text)
    card_last_4: Mapped[str | None] = mapped_column(Text)
    entry_method: Mapped[str | None] = mapped_column(Text)
    slip_number: Mapped[str | None] = mapped_column(Text)
    card_arn: Mapped[str | None] = mapped_column(Text)
    external_result: Mapped[str | None] = mapped_column(Text)
    cash_received: Mapped[int | None] = mapped_column(BigInteger)
    change_amount: Mapped[int | None] = mapped_column(BigInteger)
    client_reference: Mapped[str | None] = mapped_column(Text)

    next_action: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(INSTANT)
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    cancel_outcome: Mapped[str | None] = mapped_column(Text)
    on_too_late: Mapped[str | None] = mapped_column(Text)
    needs_action: Mapped[bool]
    off_bill: Mapped[bool]

    expires_at: Mapped[datetime] = mapped_column(INSTANT)
    cancelled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    refunded_at: Mapped[datetime | None] = mapped_column(INSTANT)


class PaymentHistory(HistoryRow, Base):
    """An event of a payment, one row per version."""

    __tablename__ = "payment_history"

    payment_id: Mapped[str] = mapped_column(Text, primary_key=True)


class PaymentAttempt(AttemptRow, Base):
    """One request to a provider to move money, and its outcome."""

    __tablename__ = "payment_attempts"
    __table_args__ = (UniqueConstraint("reference", name="payment_attempts_reference_key"),)

    payment_id: Mapped[str] = mapped_column(Text, primary_key=True)


class PaymentMessage(MessageRow, Base):
    """An inquiry about an attempt and its answer, or an answer that arrived too late to be recorded."""

    __tablename__ = "payment_messages"

    payment_id: Mapped[str] = mapped_column(Text, primary_key=True)

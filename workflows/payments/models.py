"""The rows of a payment: itself, its history, its attempts, and what was said about them.

The hot paths are set-based SQL on the same tables (``accept``, ``claim``, ``record``); these classes serve the rest.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database import Base
from workflows.history import INSTANT, AttemptRow, HistoryRow, LeasedRow, MessageRow


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
        Index("payments_by_store", "store_id", "id"),
        Index("payments_by_bill", "bill_id", "id", postgresql_where=text("bill_id IS NOT NULL")),
        Index("payments_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index(
            "payments_unsettled",
            "store_id",
            "currency",
            "completed_at",
            postgresql_where=text("settlement_id IS NULL AND completed_at IS NOT NULL"),
        ),
        Index("payments_in_doubt", "store_id", "currency", postgresql_where=text("NOT outcome_known")),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    device_id: Mapped[str | None] = mapped_column(Text)
    bill_id: Mapped[str | None] = mapped_column(Text)
    order_id: Mapped[str | None] = mapped_column(Text)
    settlement_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    version: Mapped[int]

    amount: Mapped[int] = mapped_column(BigInteger)
    tip_amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    captured_amount: Mapped[int] = mapped_column(BigInteger)
    refunded_amount: Mapped[int] = mapped_column(BigInteger)
    refund_reserved: Mapped[int] = mapped_column(BigInteger)
    fee: Mapped[int] = mapped_column(BigInteger)

    method_type: Mapped[str] = mapped_column(Text)
    method_mode: Mapped[str | None] = mapped_column(Text)
    processing_mode: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    provider_token: Mapped[str | None] = mapped_column(Text)
    provider_reference: Mapped[str | None] = mapped_column(Text)
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
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)

    next_action: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    failure_code: Mapped[str | None] = mapped_column(Text)
    failure_message: Mapped[str | None] = mapped_column(Text)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(INSTANT)
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    cancel_outcome: Mapped[str | None] = mapped_column(Text)
    on_too_late: Mapped[str | None] = mapped_column(Text)

    expires_at: Mapped[datetime] = mapped_column(INSTANT)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    processing_at: Mapped[datetime | None] = mapped_column(INSTANT)
    completed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    failed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    cancelled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    refunded_at: Mapped[datetime | None] = mapped_column(INSTANT)


class PaymentHistory(HistoryRow, Base):
    """What happened to a payment, one row per version."""

    __tablename__ = "payment_history"

    payment_id: Mapped[str] = mapped_column(Text, primary_key=True)


class PaymentAttempt(AttemptRow, Base):
    """One claim to ask a provider for money, and its outcome."""

    __tablename__ = "payment_attempts"
    __table_args__ = (UniqueConstraint("reference", name="payment_attempts_reference_key"),)

    payment_id: Mapped[str] = mapped_column(Text, primary_key=True)


class PaymentMessage(MessageRow, Base):
    """A question about an attempt and its answer, or an answer that came too late to be recorded."""

    __tablename__ = "payment_messages"

    payment_id: Mapped[str] = mapped_column(Text, primary_key=True)


class IdempotencyRecord(Base):
    """The answer that a key was given, to be given again."""

    __tablename__ = "idempotency_records"
    __table_args__ = (Index("idempotency_records_by_expiry", "expires_at"),)

    merchant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    method: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    status: Mapped[int]
    body: Mapped[str] = mapped_column(Text)
    resource_id: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    expires_at: Mapped[datetime] = mapped_column(INSTANT)


class DeadLetter(Base):
    """A task or a payment that was given up on, with the reason, until an operator requeues it."""

    __tablename__ = "dead_letters"
    __table_args__ = (Index("dead_letters_open", "created_at", postgresql_where=text("requeued_at IS NULL")),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    task: Mapped[str] = mapped_column(Text)
    task_id: Mapped[str | None] = mapped_column(Text)
    arguments: Mapped[Any] = mapped_column(JSONB)
    entity_id: Mapped[str | None] = mapped_column(Text)
    deliveries: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    requeued_at: Mapped[datetime | None] = mapped_column(INSTANT)
    requeued_by: Mapped[str | None] = mapped_column(Text)


class Canary(Base):
    """The last message sent through a queue to see whether somebody consumes there."""

    __tablename__ = "canaries"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    sent_at: Mapped[datetime] = mapped_column(INSTANT)
    consumed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    worker: Mapped[str | None] = mapped_column(Text)


class Switch(Base):
    """Something an operator turned on or off for the whole installation."""

    __tablename__ = "switches"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    is_on: Mapped[bool]
    message: Mapped[str | None] = mapped_column(Text)
    changed_by: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[datetime] = mapped_column(INSTANT)

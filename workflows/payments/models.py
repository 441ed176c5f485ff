"""Map the tables of payments, and declare the rows that their statements return.

The mapped classes serve queries that are built with SQLAlchemy. The hot paths (``accept``, ``leases``, ``record``) execute SQL
text; the ``TypedDict`` classes below are the types of its rows. ``tests/unit/database/test_row_types.py`` compares every row
type with its table or its statement.
"""

from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import BigInteger, Column, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import (
    INSTANT,
    AttemptRow,
    HistoryRow,
    LeasedRow,
    MessageRow,
    due_columns,
    leased_indexes,
    reference_columns,
    unsettled_columns,
)
from workflows.processing.rows import ClaimedRow, LeasedColumns
from workflows.tenants.paging import apart_index


class Payment(LeasedRow, Base):
    """One sale at one terminal, from the request to its final status."""

    __tablename__ = "payments"
    __table_args__ = (
        Index("payments_by_card", "card_last_4", "id", postgresql_where=text("card_last_4 IS NOT NULL")),
        Index("payments_by_creation", "created_at", postgresql_using="brin", postgresql_with={"pages_per_range": 32}),
        Index(  # only for the look-ups of the release before the months, after a rollback
            "payments_by_client_reference",
            "merchant_id",
            "client_reference",
            postgresql_where=text("client_reference IS NOT NULL"),
        ),
        Index("payments_by_bill", "bill_id", "id", postgresql_where=text("bill_id IS NOT NULL")),
        apart_index("payments"),
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


DUE = Table("due_payments", Base.metadata, *due_columns())
UNSETTLED = Table("unsettled_payments", Base.metadata, *unsettled_columns())
REFERENCES = Table("payment_references", Base.metadata, *reference_columns("payment_references"))
"""Tables that triggers keep, whatever changes a payment (migration 0027)."""

CLIENT_REFERENCES = Table(
    "payment_client_references",
    Base.metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("client_reference", Text, primary_key=True),
    Column("payment_id", Text, nullable=False),
)
"""The payment of each reference. A trigger enters it, and the primary key keeps it unique over all months (migration 0037)."""


class PaymentHistory(HistoryRow, Base):
    """An event of a payment, one row per version."""

    __tablename__ = "payment_history"

    payment_id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str | None] = mapped_column(Text)  # type: ignore[assignment]
    store_id: Mapped[str | None] = mapped_column(Text)  # type: ignore[assignment]


class PaymentAttempt(AttemptRow, Base):
    """One request to a provider to move money, and its outcome."""

    __tablename__ = "payment_attempts"

    payment_id: Mapped[str] = mapped_column(Text, primary_key=True)


class PaymentMessage(MessageRow, Base):
    """An inquiry about an attempt and its answer, or an answer that arrived too late to be recorded."""

    __tablename__ = "payment_messages"

    payment_id: Mapped[str] = mapped_column(Text, primary_key=True)


class PaymentRow(LeasedColumns):
    """A row of ``payments``."""

    device_id: str | None
    bill_id: str | None
    order_id: str | None
    tip_amount: int
    captured_amount: int
    refunded_amount: int
    refund_reserved: int
    method_type: str
    method_mode: str | None
    processing_mode: str
    provider_token: str | None
    approval_code: str | None
    card_brand: str | None
    card_last_4: str | None
    entry_method: str | None
    slip_number: str | None
    card_arn: str | None
    external_result: str | None
    cash_received: int | None
    change_amount: int | None
    client_reference: str | None
    next_action: dict[str, Any] | None
    cancel_requested_at: datetime | None
    cancel_reason: str | None
    cancel_outcome: str | None
    on_too_late: str | None
    needs_action: bool
    off_bill: bool
    expires_at: datetime
    cancelled_at: datetime | None
    refunded_at: datetime | None


class ClaimedPayment(ClaimedRow):
    """The columns of a payment that a claim reads (``workload.PaymentWorkload.columns``)."""

    amount: int
    tip_amount: int
    currency: str
    method_type: str
    method_mode: str | None
    metadata: dict[str, Any]
    expires_at: datetime
    cancel_requested_at: datetime | None
    provider_token: str | None
    external_result: str | None
    card_arn: str | None
    slip_number: str | None


class RecordedPayment(TypedDict):
    """A row that the recording statement returns: the payment after the update. ``age`` is its age in seconds."""

    id: str
    status: str
    merchant_id: str
    store_id: str
    request_id: str | None
    bill_id: str | None
    amount: int
    currency: str
    captured_amount: int
    fee: int
    provider: str
    method_type: str
    cancel_outcome: str | None
    on_too_late: str | None
    completed_at: datetime | None
    recorded_at: datetime
    code: str | None
    age: float

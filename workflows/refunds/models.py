"""Map the tables of refunds, and declare the rows that their statements return.

``tests/unit/database/test_row_types.py`` compares every row type with its table or its statement.
"""

from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import Index, Table, Text, text
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


class Refund(LeasedRow, Base):
    """A refund of some or all of a payment."""

    __tablename__ = "refunds"
    __table_args__ = (
        apart_index("refunds"),
        Index("refunds_by_payment", "payment_id", "id"),
        Index("refunds_needing_action", "store_id", "id", postgresql_where=text("needs_action")),
        *leased_indexes("refunds"),
    )

    payment_id: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    staff_code: Mapped[str] = mapped_column(Text)
    needs_action: Mapped[bool]
    report: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    reported_at: Mapped[datetime | None] = mapped_column(INSTANT)


DUE = Table("due_refunds", Base.metadata, *due_columns())
UNSETTLED = Table("unsettled_refunds", Base.metadata, *unsettled_columns())
REFERENCES = Table("refund_references", Base.metadata, *reference_columns("refund_references"))
"""Tables that triggers keep, whatever changes a refund (migration 0027)."""


class RefundHistory(HistoryRow, Base):
    """An event of a refund, one row per version."""

    __tablename__ = "refund_history"

    refund_id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str | None] = mapped_column(Text)  # type: ignore[assignment]
    store_id: Mapped[str | None] = mapped_column(Text)  # type: ignore[assignment]


class RefundAttempt(AttemptRow, Base):
    """One request to a provider to refund money, and its outcome."""

    __tablename__ = "refund_attempts"

    refund_id: Mapped[str] = mapped_column(Text, primary_key=True)


class RefundMessage(MessageRow, Base):
    """An inquiry about an attempt and its answer, or an answer that arrived too late to be recorded."""

    __tablename__ = "refund_messages"

    refund_id: Mapped[str] = mapped_column(Text, primary_key=True)


class RefundRow(LeasedColumns):
    """A row of ``refunds``."""

    payment_id: str
    reason: str
    staff_code: str
    needs_action: bool
    report: dict[str, str] | None
    reported_at: datetime | None


class NewRefund(TypedDict):
    """The columns of a refund that is being written. The other columns have their defaults."""

    id: str
    merchant_id: str
    store_id: str
    payment_id: str
    status: str
    version: int
    amount: int
    currency: str
    reason: str
    staff_code: str
    metadata: dict[str, Any]
    report: dict[str, str] | None
    reported_at: datetime | None
    provider: str
    outcome_known: bool
    needs_review: bool
    needs_action: bool
    due_at: datetime | None
    request_id: str | None
    created_at: datetime


class RefundedPayment(TypedDict):
    """The columns that a refund takes from its payment."""

    id: str
    merchant_id: str
    store_id: str
    currency: str
    provider: str


class LockedPayment(RefundedPayment):
    """The locked payment of a requested refund. ``now`` is the database's time after the payment was locked."""

    status: str
    captured_amount: int
    refund_reserved: int
    now: datetime


class ClaimedRefund(ClaimedRow):
    """The columns of a refund that a claim reads (``workload.RefundWorkload.columns``).

    ``charge_reference`` is the reference of the attempt that charged the payment.
    """

    payment_id: str
    amount: int
    currency: str
    metadata: dict[str, Any]
    created_at: datetime
    report: dict[str, str] | None
    charge_reference: str | None


class _RefundAfterRecord(TypedDict):
    """The columns that every row of the recording statement has. ``age`` is the refund's age in seconds."""

    id: str
    status: str
    merchant_id: str
    store_id: str
    request_id: str | None
    payment_id: str
    amount: int
    currency: str
    fee: int
    provider: str
    completed_at: datetime | None
    code: str | None
    age: float
    bill_id: str | None


class RecordedRefund(_RefundAfterRecord):
    """A row that the recording statement returns: the refund after the update, and columns of its payment.

    The columns of the payment are null unless the refund is final (``FinalRefund``).
    """

    method_type: str | None
    payment_amount: int | None
    refunded_before: int | None
    off_bill: bool | None
    still_reserved: int | None


class FinalRefund(_RefundAfterRecord):
    """A recorded refund that is final. The amounts of its payment are in minor units.

    ``refunded_before`` is what earlier groups refunded, ``still_reserved`` what is reserved for refunds that are not final.
    """

    method_type: str
    payment_amount: int
    refunded_before: int
    off_bill: bool
    still_reserved: int

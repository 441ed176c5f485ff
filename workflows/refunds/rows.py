"""Declare the rows of refunds: the table's columns, what a claim reads, and what a record returns.

``tests/unit/database/test_row_types.py`` compares every row type with its table or its statement.
"""

from datetime import datetime
from typing import Any, TypedDict

from workflows.processing.rows import ClaimedRow, LeasedColumns


class RefundRow(LeasedColumns):
    """A row of ``refunds``."""

    payment_id: str
    reason: str
    staff_code: str
    needs_action: bool
    report: dict[str, str] | None
    reported_at: datetime | None


class NewRefund(TypedDict):
    """The columns of a refund that is being written; the others begin with their defaults."""

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
    """The payment of a requested refund, locked. ``now`` is the database's time after the lock was taken."""

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


class RecordedRefund(TypedDict):
    """A refund whose answer was recorded, as it is now, with what its payment needs.

    ``completed_at`` and the payment's columns (the last six) are null in a row whose ``status`` is not final: check that
    first. ``age`` is in seconds, since the refund's creation; ``refunded_before`` and ``still_reserved`` are minor units.
    """

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
    completed_at: datetime
    code: str | None
    age: float
    method_type: str
    bill_id: str | None
    payment_amount: int
    refunded_before: int
    off_bill: bool
    still_reserved: int

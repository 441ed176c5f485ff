"""Declare the rows of payments: the table's columns, what a claim reads, and what a record returns.

``tests/unit/database/test_row_types.py`` compares every row type with its table or its statement.
"""

from datetime import datetime
from typing import Any, TypedDict

from workflows.processing.rows import ClaimedRow, LeasedColumns


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
    """A payment whose answer was recorded, as it is now. ``age`` is in seconds, since its creation."""

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

"""Types of the rows of settlements, so that a wrong column name is a type error.

A test compares the types whose name ends in ``Row`` with the columns of their tables.
"""

from datetime import date, datetime, time
from typing import Any, TypedDict


class SettlementFigures(TypedDict):
    """The columns of ``settlements`` that a close freezes. Amounts are minor units."""

    line_count: int
    gross_amount: int
    refunds_amount: int
    fees_amount: int
    adjustments_amount: int
    net_amount: int
    breakdown: dict[str, Any]
    late_count: int
    in_doubt_count: int
    in_doubt_amount: int
    cash_expected: int


class SettlementRow(TypedDict):
    """A row of ``settlements``. The figures are null until the settlement is closed."""

    id: str
    merchant_id: str
    store_id: str
    currency: str
    business_date: date
    start_at: datetime
    end_at: datetime
    time_zone: str
    cut_off: time
    status: str
    version: int
    line_count: int | None
    gross_amount: int | None
    refunds_amount: int | None
    fees_amount: int | None
    adjustments_amount: int | None
    net_amount: int | None
    breakdown: dict[str, Any] | None
    late_count: int | None
    in_doubt_count: int | None
    in_doubt_amount: int | None
    cash_expected: int | None
    cash_actual: int | None
    note: str | None
    open_breaks: int
    created_at: datetime
    closed_at: datetime | None
    reconciled_at: datetime | None
    reconciled_by: str | None
    uncompared: dict[str, Any] | None


class LockedSettlement(SettlementRow):
    """A settlement that the transaction has locked; ``now`` is the time after the lock was taken."""

    now: datetime


class RunningPeriod(TypedDict):
    """The columns of an open settlement that decide when it ends."""

    id: str
    store_id: str
    start_at: datetime
    end_at: datetime
    time_zone: str
    cut_off: time


class LockedPeriod(RunningPeriod):
    """The columns of a locked settlement that its close needs; ``at`` is the time of the lock."""

    currency: str
    status: str
    at: datetime


class SettlementLineRow(TypedDict):
    """A row of ``settlement_lines``; ``amount`` is signed minor units, refunds below zero."""

    kind: str
    entity_id: str
    settlement_id: str
    merchant_id: str
    store_id: str
    payment_id: str | None
    provider: str
    provider_reference: str | None
    our_reference: str | None
    method_type: str | None
    brand: str | None
    currency: str
    amount: int
    tip_amount: int
    fee: int
    occurred_at: datetime
    business_date: date
    is_late: bool


class ListedLine(SettlementLineRow):
    """A line as lists return it; ``id`` is the key that pages continue from."""

    id: str

"""Types of the rows and documents of reconciliation, so that a wrong column name is a type error.

A test compares the types whose name ends in ``Row`` with the columns of their tables.
"""

from datetime import datetime
from typing import Any, TypedDict


class OurLine(TypedDict):
    """The line of ours that a break is about, as it was when the break was found. Dates are ISO 8601 text."""

    entity_id: str
    amount: int
    fee: int
    currency: str
    our_reference: str | None
    provider_reference: str | None
    occurred_at: str
    business_date: str


class MovedLine(TypedDict):
    """A statement's line about an attempt of ours. Dates are ISO 8601 text."""

    line_number: int
    kind: str
    amount: int
    fee: int | None
    currency: str
    provider_reference: str | None
    occurred_at: str | None
    occurred_on: str | None


class TheirLine(MovedLine):
    """The statement's line that a break is about; ``moved`` is false if it moved no money."""

    statement_id: str
    our_reference: str | None
    moved: bool


class BreakRow(TypedDict):
    """A row of ``breaks``. The differences are ours minus theirs, in the settlement's currency."""

    id: str
    merchant_id: str
    store_id: str
    settlement_id: str
    identity: str
    run: int
    category: str
    provider: str
    kind: str
    entity_id: str | None
    our_reference: str | None
    provider_reference: str | None
    currency: str
    ours: int | None
    theirs: int | None
    difference: int
    fee_difference: int
    our_line: OurLine | None
    their_line: TheirLine | None
    opened_at: datetime
    owner: str
    resolution: str | None
    note: str | None
    reference: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    waits_for: str | None
    other_reference: str | None


class ListedBreak(BreakRow):
    """A break and the time at which it was read, from which its age is counted."""

    now: datetime


class RunRow(TypedDict):
    """A row of ``reconciliation_runs``."""

    settlement_id: str
    number: int
    merchant_id: str
    store_id: str
    at: datetime
    caller_type: str
    caller_id: str
    statement_ids: list[str]
    summary: dict[str, Any]


class StatementRow(TypedDict):
    """A row of ``statements``."""

    id: str
    merchant_id: str
    store_id: str
    settlement_id: str
    number: int
    provider: str
    source: str
    format: str
    mapping: dict[str, Any]
    sha256: str
    size_bytes: int
    line_count: int
    created_at: datetime
    created_by: str

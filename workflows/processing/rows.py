"""Declare the rows that payments and refunds share: the columns of both tables, and what a claim reads.

``tests/unit/database/test_row_types.py`` compares every row type with its table or its statement.
"""

from datetime import datetime
from typing import Any, TypedDict


class LeasedColumns(TypedDict):
    """The columns that ``payments`` and ``refunds`` have in common (``database.mixins.LeasedRow``)."""

    id: str
    merchant_id: str
    store_id: str
    settlement_id: str | None
    status: str
    version: int
    amount: int
    currency: str
    fee: int
    provider: str
    provider_reference: str | None
    metadata: dict[str, Any]
    failure_code: str | None
    failure_message: str | None
    outcome_known: bool
    in_doubt_since: datetime | None
    needs_review: bool
    due_at: datetime | None
    lease_until: datetime | None
    fence: int
    unanswered_claims: int
    attempts: int
    inquiries: int
    request_id: str | None
    created_at: datetime
    processing_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None


class ClaimedRow(TypedDict):
    """The columns of a claimed row of either kind (``shared_statements.LEASE_COLUMNS``).

    ``now`` is the database's time in the transaction of the claim.
    """

    id: str
    store_id: str
    fence: int
    provider: str
    outcome_known: bool
    in_doubt_since: datetime | None
    needs_review: bool
    inquiries: int
    unanswered_claims: int
    request_id: str | None
    bill_id: str | None
    now: datetime
    transaction_id: str


class LastAttempt(TypedDict):
    """The last attempt of a row that is resumed; ``attempt_number`` is ``None`` if there is no attempt."""

    attempt_number: int | None
    attempt_outcome: str | None
    not_found_at: datetime | None
    resends: int


class ResumedRow(ClaimedRow, LastAttempt):
    """A row that was claimed before. ``deduplicates`` tells whether its provider moves money only once per reference."""

    deduplicates: bool

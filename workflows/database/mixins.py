"""Columns that several tables share: those of payments and refunds, and of histories, attempts and messages."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

INSTANT = TIMESTAMP(timezone=True)

OVERDUE = "due_at < now() - interval '60 seconds'"
"""SQL condition that a row has been due for more than a minute, which means that its processing does not work."""


class HistoryRow:
    """The columns of a history table, except the id of the entity."""

    version: Mapped[int] = mapped_column(primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    event: Mapped[str] = mapped_column(Text)
    from_status: Mapped[str | None] = mapped_column(Text)
    to_status: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(INSTANT)
    caller_type: Mapped[str] = mapped_column(Text)
    caller_id: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)


class LeasedRow:
    """The columns that payments and refunds share, among them their lease, due time and outcome."""

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    settlement_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    version: Mapped[int]

    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    fee: Mapped[int] = mapped_column(BigInteger)
    provider: Mapped[str] = mapped_column(Text)
    provider_reference: Mapped[str | None] = mapped_column(Text)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    failure_code: Mapped[str | None] = mapped_column(Text)
    failure_message: Mapped[str | None] = mapped_column(Text)

    outcome_known: Mapped[bool]
    in_doubt_since: Mapped[datetime | None] = mapped_column(INSTANT)
    needs_review: Mapped[bool]
    due_at: Mapped[datetime | None] = mapped_column(INSTANT)
    lease_until: Mapped[datetime | None] = mapped_column(INSTANT)
    fence: Mapped[int]
    unanswered_claims: Mapped[int]
    attempts: Mapped[int]
    inquiries: Mapped[int]
    request_id: Mapped[str | None] = mapped_column(Text)

    created_at: Mapped[datetime] = mapped_column(INSTANT)
    processing_at: Mapped[datetime | None] = mapped_column(INSTANT)
    completed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    failed_at: Mapped[datetime | None] = mapped_column(INSTANT)


def leased_indexes(table: str) -> tuple[Index, ...]:
    """Return the indexes of a table with the columns of ``LeasedRow``.

    None of them contains a column that an ordinary claim, record or close changes: such an update is HOT. What is due or
    unsettled, and the references of providers, are listed in tables of their own (migrations 0027 and 0028).
    """
    return (
        Index(f"{table}_by_store", "store_id", "id"),
        Index(f"{table}_in_doubt", "store_id", "currency", postgresql_where=text("NOT outcome_known")),
        Index(f"{table}_in_review", "store_id", "id", postgresql_where=text("needs_review")),
    )


def due_columns() -> tuple[Column[Any], ...]:
    """Return the columns of a table that lists rows which are due at ``due_at`` (migration 0027)."""
    return Column("id", Text, primary_key=True), Column("due_at", INSTANT, nullable=False)


def unsettled_columns() -> tuple[Column[Any], ...]:
    """Return the columns of a table that lists the completed rows without a settlement (migration 0027)."""
    return (
        Column("store_id", Text, primary_key=True),
        Column("currency", Text, primary_key=True),
        Column("completed_at", INSTANT, primary_key=True),
        Column("id", Text, primary_key=True),
    )


def reference_columns(table: str) -> tuple[Column[Any] | Index, ...]:
    """Return columns and index of a table that finds rows by a provider's reference (migration 0027)."""
    return (
        Column("provider_reference", Text, nullable=False),
        Column("id", Text, nullable=False),
        Index(f"{table}_by_reference", "provider_reference", postgresql_using="hash"),  # of any length
    )


class AttemptRow:
    """The columns of an attempt to move money at a provider, except the id of the entity."""

    number: Mapped[int] = mapped_column(primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    reference: Mapped[str] = mapped_column(Text)
    sent_at: Mapped[datetime] = mapped_column(INSTANT)
    answered_at: Mapped[datetime | None] = mapped_column(INSTANT)
    outcome: Mapped[str | None] = mapped_column(Text)
    provider_reference: Mapped[str | None] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Text)
    resends: Mapped[int]
    not_found_at: Mapped[datetime | None] = mapped_column(INSTANT)


class MessageRow:
    """The columns of a message, except the id of the entity.

    A message is a later inquiry about an attempt, or an answer that came too late to be recorded.
    """

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int | None]
    kind: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(INSTANT)

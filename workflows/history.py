"""What the tables beside an entity have in common: its history, its attempts at a provider, and what was said of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

INSTANT = TIMESTAMP(timezone=True)


class HistoryRow:
    """The columns of a history table beside the entity's own id."""

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
    """What is worked on by lease: who holds it and until when, when to look again, and whether its outcome is known."""

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


class AttemptRow:
    """One claim to ask a provider to move money, and its outcome: the columns beside the entity's own id."""

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
    """What was asked about an attempt after its call, or an answer too late to be recorded: beside the entity's own id."""

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int | None]
    kind: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(INSTANT)

"""The tables of reconciliation (runs, breaks, evidence, the retry schedule), and the types of their rows and documents.

SQL queries return rows as dictionaries. The TypedDicts at the end type them, so that a wrong column name is a type error. A
test compares each TypedDict whose name ends in ``Row`` with the columns of its table.
"""

from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT


class ReconciliationRun(Base):
    """A numbered comparison of a settlement with its current statements, and its sums by category."""

    __tablename__ = "reconciliation_runs"

    settlement_id: Mapped[str] = mapped_column(
        Text, ForeignKey("settlements.id", name="reconciliation_runs_settlement_fk"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(INSTANT)
    caller_type: Mapped[str] = mapped_column(Text)
    caller_id: Mapped[str] = mapped_column(Text)
    statement_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))
    summary: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Break(Base):
    """A difference between our books and a provider's statement.

    ``identity`` is what differs and by how much; ``run`` is the last run that found it. ``waits_for`` is the payment or refund
    that its line quotes and that was not final at that run. ``other_reference`` is the adjustment in the currency of the
    provider's line, if that is not the settlement's.
    """

    __tablename__ = "breaks"
    __table_args__ = (
        UniqueConstraint("settlement_id", "identity", name="breaks_identity_key"),
        Index("breaks_by_settlement", "settlement_id", "id"),
        Index(
            "breaks_waiting",
            "settlement_id",
            postgresql_where=text("waits_for IS NOT NULL AND resolution IS NULL"),
        ),
        Index("breaks_by_reference", "reference", postgresql_where=text("reference IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    settlement_id: Mapped[str] = mapped_column(Text, ForeignKey("settlements.id", name="breaks_settlement_fk"))
    identity: Mapped[str] = mapped_column(Text)
    run: Mapped[int]
    category: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    entity_id: Mapped[str | None] = mapped_column(Text)
    our_reference: Mapped[str | None] = mapped_column(Text)
    provider_reference: Mapped[str | None] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    ours: Mapped[int | None] = mapped_column(BigInteger)
    theirs: Mapped[int | None] = mapped_column(BigInteger)
    difference: Mapped[int] = mapped_column(BigInteger)
    fee_difference: Mapped[int] = mapped_column(BigInteger)
    our_line: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    their_line: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    opened_at: Mapped[datetime] = mapped_column(INSTANT)
    owner: Mapped[str] = mapped_column(Text)
    resolution: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(Text)
    resolved_at: Mapped[datetime | None] = mapped_column(INSTANT)
    resolved_by: Mapped[str | None] = mapped_column(Text)
    waits_for: Mapped[str | None] = mapped_column(Text)
    other_reference: Mapped[str | None] = mapped_column(Text)


class StatementEvidence(Base):
    """The lines of a statement that were taken as the answer about an attempt, and the status that they led to.

    ``withdrawn_at`` is the time at which a later statement no longer had these lines.
    """

    __tablename__ = "statement_evidence"
    __table_args__ = (Index("statement_evidence_by_settlement", "settlement_id"),)

    entity_id: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int]
    our_reference: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    settlement_id: Mapped[str] = mapped_column(
        Text, ForeignKey("settlements.id", name="statement_evidence_settlement_fk")
    )
    statement_id: Mapped[str] = mapped_column(Text, ForeignKey("statements.id", name="statement_evidence_statement_fk"))
    answer: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(INSTANT)
    by: Mapped[str] = mapped_column(Text)
    withdrawn_at: Mapped[datetime | None] = mapped_column(INSTANT)


class ReconciliationTry(Base):
    """The automatic tries to reconcile a settlement: their number, the time of the next one, and the last error."""

    __tablename__ = "reconciliation_tries"

    settlement_id: Mapped[str] = mapped_column(
        Text, ForeignKey("settlements.id", name="reconciliation_tries_settlement_fk"), primary_key=True
    )
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    tries: Mapped[int]
    due_at: Mapped[datetime | None] = mapped_column(INSTANT)
    trouble: Mapped[str | None] = mapped_column(Text)


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


class StatementLineFields(TypedDict):
    """The fields of a line of a provider's statement, without the statement's id. Dates are ISO 8601 text."""

    line_number: int
    kind: str
    amount: int
    fee: int | None
    currency: str
    provider_reference: str | None
    occurred_at: str | None
    occurred_on: str | None


class TheirLine(StatementLineFields):
    """The statement's line that a break is about; ``moved`` is false if the line moved no money."""

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
    """A break and the time at which it was read, from which its age is computed."""

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

"""The tables of statements: the raw file in chunks, its lines, and the mappings of a merchant's files."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base
from workflows.database.mixins import INSTANT


class Statement(Base):
    """A file of one provider for one settlement. A provider's newest file is current; rows never change."""

    __tablename__ = "statements"
    __table_args__ = (UniqueConstraint("settlement_id", "number", name="statements_number_key"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    settlement_id: Mapped[str] = mapped_column(Text, ForeignKey("settlements.id", name="statements_settlement_fk"))
    number: Mapped[int]
    provider: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    format: Mapped[str] = mapped_column(Text)
    mapping: Mapped[dict[str, Any]] = mapped_column(JSONB)
    sha256: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    line_count: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    created_by: Mapped[str] = mapped_column(Text)


class StatementChunk(Base):
    """A chunk of a raw file."""

    __tablename__ = "statement_chunks"

    statement_id: Mapped[str] = mapped_column(
        Text, ForeignKey("statements.id", name="statement_chunks_statement_fk"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class StoredLine(Base):
    """A parsed line of a statement. ``amount`` is signed; ``line_number`` is the line's number in the file."""

    __tablename__ = "statement_lines"

    statement_id: Mapped[str] = mapped_column(
        Text, ForeignKey("statements.id", name="statement_lines_statement_fk"), primary_key=True
    )
    line_number: Mapped[int] = mapped_column(primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    store_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    is_settled: Mapped[bool]
    our_reference: Mapped[str | None] = mapped_column(Text)
    provider_reference: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    fee: Mapped[int | None] = mapped_column(BigInteger)
    occurred_at: Mapped[datetime | None] = mapped_column(INSTANT)
    occurred_on: Mapped[date | None]


class StoredMapping(Base):
    """The mapping of a merchant's files of one provider, as it was last declared."""

    __tablename__ = "statement_mappings"

    merchant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    provider: Mapped[str] = mapped_column(Text, primary_key=True)
    mapping: Mapped[dict[str, Any]] = mapped_column(JSONB)
    changed_at: Mapped[datetime] = mapped_column(INSTANT)
    changed_by: Mapped[str] = mapped_column(Text)

"""Results of the scheduled check: the last findings of each rule, and when they were made."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base, Role, transaction
from workflows.database.mixins import INSTANT


class InvariantResult(Base):
    """The findings of a rule's last finished check, and whether its last check finished in time."""

    __tablename__ = "invariant_results"

    rule: Mapped[str] = mapped_column(Text, primary_key=True)
    invariant: Mapped[str] = mapped_column(Text)
    sentence: Mapped[str] = mapped_column(Text)
    tried_at: Mapped[datetime] = mapped_column(INSTANT)
    is_finished: Mapped[bool]
    finished_at: Mapped[datetime | None] = mapped_column(INSTANT)
    seconds: Mapped[float | None]
    checked: Mapped[int | None] = mapped_column(BigInteger)
    violations: Mapped[int | None] = mapped_column(BigInteger)
    examples: Mapped[Any] = mapped_column(JSONB)


class InvariantRun(Base):
    """The time at which the scheduled check last began."""

    __tablename__ = "invariant_runs"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    began_at: Mapped[datetime] = mapped_column(INSTANT)


_READ = text("SELECT * FROM invariant_results ORDER BY CAST(substr(invariant, 2) AS integer), rule")


async def read_results(role: Role) -> list[dict[str, Any]]:
    """Return a row for each rule that was ever checked, by invariant."""
    async with transaction(role) as connection:
        return [dict(row) for row in (await connection.execute(_READ)).mappings()]

"""Dead letters: what was given up on, kept until an operator has looked and has it tried again."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Text, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from workflows.columns import INSTANT
from workflows.database import Base, Role, rows_parameter, transaction
from workflows.ids import new_id
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.reading import page_of


class DeadLetter(Base):
    """A task or a payment that was given up on, with the reason, until an operator requeues it."""

    __tablename__ = "dead_letters"
    __table_args__ = (Index("dead_letters_open", "created_at", postgresql_where=text("requeued_at IS NULL")),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    task: Mapped[str] = mapped_column(Text)
    task_id: Mapped[str | None] = mapped_column(Text)
    arguments: Mapped[Any] = mapped_column(JSONB)
    entity_id: Mapped[str | None] = mapped_column(Text)
    deliveries: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(INSTANT)
    requeued_at: Mapped[datetime | None] = mapped_column(INSTANT)
    requeued_by: Mapped[str | None] = mapped_column(Text)


_BURY = text("""
    INSERT INTO dead_letters (id, task, task_id, arguments, deliveries, reason, traceback, created_at)
    VALUES (:id, :task, :task_id, CAST(:arguments AS jsonb), :deliveries, :reason, :traceback, now())
""")


async def bury(task: str, *, task_id: str, arguments: Any, deliveries: int, reason: str, traceback: str) -> None:
    """Keep a task's message with the reason why nobody could work on it."""
    async with transaction(Role.WORKER) as connection:
        await connection.execute(
            _BURY,
            {
                "id": new_id("dead_letter"),
                "task": task,
                "task_id": task_id,
                "arguments": rows_parameter(arguments),
                "deliveries": deliveries,
                "reason": reason,
                "traceback": traceback,
            },
        )


async def list_dead_letters(*, caller: Caller, limit: int, before: str | None) -> list[dict[str, Any]]:
    """Up to ``limit`` dead letters, newest first, older than the id ``before``."""
    async with caller_transaction(caller) as connection:
        return await page_of(connection, select(DeadLetter.__table__), by=DeadLetter.id, limit=limit, before=before)

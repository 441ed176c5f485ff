"""Canaries: since when a message through each queue is unanswered, and when somebody last consumed one.

A worker may be alive and deaf (its broker connection is gone and nobody noticed); only a message that comes through
proves the opposite. Silence is counted from the first canary that nobody answered, so neither a beat that was away nor a
clock that jumped makes a queue silent, and one that never had a consumer is.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Text, text
from sqlalchemy.orm import Mapped, mapped_column

from workflows.columns import INSTANT
from workflows.database import Base, Role, transaction


class Canary(Base):
    """The last message sent through a queue to see whether somebody consumes there."""

    __tablename__ = "canaries"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    sent_at: Mapped[datetime] = mapped_column(INSTANT)
    consumed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    worker: Mapped[str | None] = mapped_column(Text)


_SENT = text("""
    INSERT INTO canaries (queue, sent_at) SELECT unnest(CAST(:queues AS text[])), now()
    ON CONFLICT (queue) DO UPDATE SET
        sent_at = CASE WHEN canaries.consumed_at >= canaries.sent_at THEN excluded.sent_at ELSE canaries.sent_at END
""")
_CONSUMED = text("UPDATE canaries SET consumed_at = now(), worker = :worker WHERE queue = :queue")
_SILENT = text("""
    SELECT queue, extract(epoch FROM now() - sent_at) AS seconds FROM canaries
    WHERE (consumed_at IS NULL OR consumed_at < sent_at) AND sent_at < now() - make_interval(secs => :patience)
""")


@dataclass(frozen=True, slots=True)
class SilentQueue:
    """A queue that nobody has consumed for ``seconds``."""

    queue: str
    seconds: float


async def note_sent(queues: list[str]) -> None:
    """A canary is about to be sent through each of ``queues``."""
    async with transaction(Role.SWEEP) as connection:
        await connection.execute(_SENT, {"queues": queues})


async def note_consumed(queue: str, *, worker: str) -> None:
    """The canary of ``queue`` arrived at ``worker``."""
    async with transaction(Role.WORKER) as connection:
        await connection.execute(_CONSUMED, {"queue": queue, "worker": worker})


async def find_silent_queues(*, patience_seconds: float) -> list[SilentQueue]:
    """Queues through which a canary has been on its way for ``patience_seconds``, and none was heard since."""
    async with transaction(Role.SWEEP) as connection:
        rows = await connection.execute(_SILENT, {"patience": patience_seconds})
        return [SilentQueue(row.queue, float(row.seconds)) for row in rows]

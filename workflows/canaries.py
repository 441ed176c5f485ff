"""Canaries: when a message was last sent through each queue, and when somebody last consumed one.

A worker may be alive and deaf (its broker connection is gone and nobody noticed); only a message that comes through
proves the opposite.
"""

from dataclasses import dataclass

from sqlalchemy import text

from workflows.database import Role, transaction

_SENT = text("""
    INSERT INTO canaries (queue, sent_at) SELECT unnest(CAST(:queues AS text[])), now()
    ON CONFLICT (queue) DO UPDATE SET sent_at = now()
""")
_CONSUMED = text("UPDATE canaries SET consumed_at = now(), worker = :worker WHERE queue = :queue")
_SILENT = text("""
    SELECT queue, extract(epoch FROM now() - coalesce(consumed_at, sent_at)) AS seconds FROM canaries
    WHERE coalesce(consumed_at, sent_at) < now() - make_interval(secs => :patience)
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
    """Queues whose last canary nobody has heard for ``patience_seconds``."""
    async with transaction(Role.SWEEP) as connection:
        rows = await connection.execute(_SILENT, {"patience": patience_seconds})
        return [SilentQueue(row.queue, float(row.seconds)) for row in rows]

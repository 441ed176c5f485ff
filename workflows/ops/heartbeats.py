"""Heartbeats: one row for each worker process, with when it was last seen and when it last consumed a message.

Both are needed to distinguish a worker that is dead, frozen or without a database (not seen) from one that runs and consumes
nothing (seen, not heard). A worker that stops deletes its row; the row of a killed worker is deleted after ``FORGET_AFTER``.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base, Role, transaction
from workflows.database.mixins import INSTANT

FORGET_AFTER = "1 hour"
"""A killed worker that does not return is reported for this long. Its queues are reported until they are consumed."""


class Worker(Base):
    """A running worker process, by its name in Celery."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))
    seen_at: Mapped[datetime] = mapped_column(INSTANT)
    heard_at: Mapped[datetime | None] = mapped_column(INSTANT)


class Heartbeat(NamedTuple):
    """Seconds since a worker was last seen and since it last consumed a message (``None``: never).

    ``marks`` are the two times as text: a mark that changes proves that the worker wrote, whatever the clocks say.
    """

    worker: str
    marks: tuple[str, str]
    seen: float
    heard: float | None


_NOTE = text("""
    -- note: this worker runs, and consumed a message so many seconds ago (NULL: none since the last note)
    INSERT INTO workers (name, queues, seen_at, heard_at)
    VALUES (:name, :queues, now(), now() - make_interval(secs => CAST(:heard AS double precision)))
    ON CONFLICT (name) DO UPDATE SET queues = excluded.queues, seen_at = excluded.seen_at,
        heard_at = CASE WHEN :is_new THEN excluded.heard_at ELSE coalesce(excluded.heard_at, workers.heard_at) END
""")
_FORGET = text("DELETE FROM workers WHERE name = :name")
_FORGET_OLD = text(f"""
    -- After the clock is moved every row looks old. That does no harm: running workers write theirs again within seconds.
    DELETE FROM workers WHERE seen_at < now() - interval '{FORGET_AFTER}' OR seen_at > now() + interval '{FORGET_AFTER}'
""")
_READ = text("""
    SELECT name, seen_at::text AS seen_mark, coalesce(heard_at::text, '') AS heard_mark,
           abs(extract(epoch FROM now() - seen_at))::float AS seen,
           abs(extract(epoch FROM now() - heard_at))::float AS heard
    FROM workers ORDER BY name
""")


async def note_worker(name: str, queues: list[str], *, heard_seconds_ago: float | None, is_new: bool = False) -> None:
    """Note that a worker runs, and when it last consumed a message; delete rows of long gone workers.

    ``heard_seconds_ago``: the age of a message consumed since the last note, ``None`` if there was none. ``is_new``: the
    process has just started, so what an earlier process of this name consumed does not count.
    """
    values = {"name": name, "queues": queues, "heard": heard_seconds_ago, "is_new": is_new}
    async with transaction(Role.WORKER) as connection:
        await connection.execute(_NOTE, values)
        await connection.execute(_FORGET_OLD)


async def forget_worker(name: str) -> None:
    """Delete the row of a worker that stops."""
    async with transaction(Role.WORKER) as connection:
        await connection.execute(_FORGET, {"name": name})


async def read_heartbeats(role: Role) -> list[Heartbeat]:
    """Return the heartbeat of every worker, by name.

    A time in the future, written before the clock was set back, counts as its distance from now.
    """
    async with transaction(role) as connection:
        return [
            Heartbeat(row.name, (row.seen_mark, row.heard_mark), row.seen, row.heard)
            for row in await connection.execute(_READ)
        ]

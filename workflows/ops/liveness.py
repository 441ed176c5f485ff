"""Liveness: when each queue, beat and each worker process was last heard from.

| row       | proves                                                                                                    |
|-----------|-----------------------------------------------------------------------------------------------------------|
| canary    | a queue is consumed: a test message was sent through it, and a worker received it                          |
| beat's    | beat sends its sweeps; written by the workers that receive them (``beat.beat_monitor``)                    |
| heartbeat | a worker process runs and reaches the database (seen), and consumes messages (heard)                       |

A worker may run without consuming, because it did not notice the loss of its broker connection; only a message that arrives
proves that it consumes. Silence is counted from the first unanswered canary: a pause between canaries does not make a queue
silent, but a queue that never had a consumer is silent.

A worker that is dead, frozen or without a database is not seen. A worker that runs and consumes nothing is seen, but not
heard. A worker that stops deletes its heartbeat; the heartbeat of a killed worker is deleted after ``FORGET_AFTER``.

A timestamp in the future was written before the database's clock was set back. Until the next write, its distance from now
counts as the silence.
"""

import math
import time
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base, Role, transaction
from workflows.database.mixins import INSTANT


class Canary(Base):
    """The last test message sent through a queue, and when it was consumed."""

    __tablename__ = "canaries"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    sent_at: Mapped[datetime] = mapped_column(INSTANT)
    consumed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    worker: Mapped[str | None] = mapped_column(Text)


_SENT = text("""
    INSERT INTO canaries (queue, sent_at) SELECT unnest(CAST(:queues AS text[])), now()
    ON CONFLICT (queue) DO UPDATE SET
        sent_at = CASE WHEN canaries.consumed_at >= canaries.sent_at THEN excluded.sent_at ELSE canaries.sent_at END,
        -- NULL: after the clock is set back, the old time would count as an answer until the clock has caught up
        consumed_at = CASE WHEN canaries.consumed_at >= canaries.sent_at THEN NULL ELSE canaries.consumed_at END
""")
_CONSUMED = text("UPDATE canaries SET consumed_at = now(), worker = :worker WHERE queue = :queue")
_SILENT = text("""
    SELECT queue, abs(extract(epoch FROM now() - sent_at)) AS seconds FROM canaries
    WHERE (consumed_at IS NULL OR consumed_at < sent_at) AND abs(extract(epoch FROM now() - sent_at)) > :limit
""")
_AGES = text("""
    SELECT queue, sent_at::text AS mark, abs(extract(epoch FROM now() - consumed_at))::float AS consumed,
           CASE WHEN consumed_at IS NULL OR consumed_at < sent_at
                THEN abs(extract(epoch FROM now() - sent_at))::float END AS unanswered
    FROM canaries
""")
_BEAT_HEARD = text("""
    INSERT INTO canaries (queue, sent_at, consumed_at, worker)
    SELECT :beat, heard, heard, :worker FROM (SELECT now() - make_interval(secs => :ago) AS heard)
    ON CONFLICT (queue) DO UPDATE SET
        sent_at = excluded.sent_at, consumed_at = excluded.consumed_at, worker = excluded.worker
""")
_BEAT_SILENT = text("SELECT abs(extract(epoch FROM now() - consumed_at)) AS seconds FROM canaries WHERE queue = :beat")

_STARTED = time.monotonic()

BEAT = "beat"
"""The row for beat. No queue has this name."""

SILENCE_SECONDS = 60.0
"""A queue or beat that has not been heard from for this many seconds is reported as silent."""

BACKLOG_LIMIT = 200
"""The number of waiting messages from which a queue gets no more canaries and sweeps.

Beat, workers and API processes then send none: the queue is not being consumed, and the broker's memory is finite. A worker
that returns handles this many messages within two seconds.
"""


@dataclass(frozen=True, slots=True)
class SilentQueue:
    """A queue whose canary has not been consumed for ``seconds``."""

    queue: str
    seconds: float


@dataclass(frozen=True, slots=True)
class QueueAges:
    """The ages of a queue's canary, in seconds.

    ``consumed`` is the time since the last canary was consumed, ``None`` if none ever was. ``unanswered`` is the time for
    which a canary has been waiting, ``None`` if none waits. ``mark`` is the time at which it was sent, as text: it stays the
    same while no canary is consumed, whatever the clocks do. For beat, it is the time at which beat was heard.
    """

    mark: str
    consumed: float | None
    unanswered: float | None


async def read_ages(role: Role) -> dict[str, QueueAges]:
    """Return the canary ages of each queue, by queue name.

    The entry ``BEAT`` says how long ago beat was last heard from.
    """
    async with transaction(role) as connection:
        rows = await connection.execute(_AGES)
        return {row.queue: QueueAges(row.mark, row.consumed, row.unanswered) for row in rows}


async def note_sent(queues: list[str], *, role: Role = Role.SWEEP) -> None:
    """Record that a canary is about to be sent through each of ``queues``."""
    async with transaction(role) as connection:
        await connection.execute(_SENT, {"queues": queues})


async def note_consumed(queue: str, *, worker: str) -> None:
    """Record that the canary of ``queue`` arrived at ``worker``."""
    async with transaction(Role.WORKER) as connection:
        await connection.execute(_CONSUMED, {"queue": queue, "worker": worker})


async def find_silent_queues(*, limit_seconds: float) -> list[SilentQueue]:
    """Return the queues whose canary has been unanswered for more than ``limit_seconds``."""
    async with transaction(Role.SWEEP) as connection:
        rows = await connection.execute(_SILENT, {"limit": limit_seconds})
        return [SilentQueue(row.queue, float(row.seconds)) for row in rows]


async def note_beat(*, seconds_ago: float, worker: str) -> None:
    """Record that ``worker`` received a sweep of beat ``seconds_ago``."""
    async with transaction(Role.SWEEP) as connection:
        await connection.execute(_BEAT_HEARD, {"beat": BEAT, "ago": seconds_ago, "worker": worker})


async def beat_silent_seconds() -> float:
    """Return the seconds since a worker last received a message of beat, at most the age of this process."""
    async with transaction(Role.ACCEPT) as connection:
        row = (await connection.execute(_BEAT_SILENT, {"beat": BEAT})).one_or_none()
        return since_start(math.inf if row is None else float(row.seconds))


def since_start(seconds: float) -> float:
    """Return ``seconds``, but at most the age of this process: time before its start is not silence."""
    return min(seconds, time.monotonic() - _STARTED)


FORGET_AFTER = "1 hour"
"""The time after which a killed worker that did not return is no longer reported.

Its queues are reported until they are consumed again.
"""


class Worker(Base):
    """A running worker process, under its name in Celery."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))
    seen_at: Mapped[datetime] = mapped_column(INSTANT)
    heard_at: Mapped[datetime | None] = mapped_column(INSTANT)


class Heartbeat(NamedTuple):
    """Seconds since a worker was last seen, and since it last consumed a message (``None`` if it never did).

    ``marks`` are the two times as text. A mark that changes proves that the worker wrote, whatever the clocks say.
    """

    worker: str
    marks: tuple[str, str]
    seen: float
    heard: float | None


_NOTE = text("""
    -- note: this worker runs, and consumed a message :heard seconds ago (NULL: none since the last note)
    INSERT INTO workers (name, queues, seen_at, heard_at)
    VALUES (:name, :queues, now(), now() - make_interval(secs => CAST(:heard AS double precision)))
    ON CONFLICT (name) DO UPDATE SET queues = excluded.queues, seen_at = excluded.seen_at,
        heard_at = CASE WHEN :is_new THEN excluded.heard_at ELSE coalesce(excluded.heard_at, workers.heard_at) END
""")
_FORGET = text("DELETE FROM workers WHERE name = :name")
_FORGET_OLD = text(f"""
    -- After the clock is moved, every row looks old. That is harmless, because running workers write theirs within seconds.
    DELETE FROM workers WHERE seen_at < now() - interval '{FORGET_AFTER}' OR seen_at > now() + interval '{FORGET_AFTER}'
""")
_READ = text("""
    SELECT name, seen_at::text AS seen_mark, coalesce(heard_at::text, '') AS heard_mark,
           abs(extract(epoch FROM now() - seen_at))::float AS seen,
           abs(extract(epoch FROM now() - heard_at))::float AS heard
    FROM workers ORDER BY name
""")


async def note_worker(name: str, queues: list[str], *, heard_seconds_ago: float | None, is_new: bool = False) -> None:
    """Record that a worker runs, and when it last consumed a message.

    Delete the rows of workers that are long gone.

    ``heard_seconds_ago`` is the age of a message that was consumed since the last record, ``None`` if there was none.
    ``is_new`` says that the process has just started, so messages that an earlier process of this name consumed do not
    count.
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

    Ages are absolute: a timestamp in the future, written before the clock was set back, counts as equally far in the past.
    """
    async with transaction(role) as connection:
        return [
            Heartbeat(row.name, (row.seen_mark, row.heard_mark), row.seen, row.heard)
            for row in await connection.execute(_READ)
        ]

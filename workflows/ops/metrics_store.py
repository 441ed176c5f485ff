"""Metric totals: add the counts of each process to one table, from which any process answers ``/metrics``.

| what happens                                    | the total                                                            |
|-------------------------------------------------|----------------------------------------------------------------------|
| a process adds its counts (every two seconds)   | grows by them, in one statement                                      |
| the answer to the COMMIT is lost                | counts them once: the addition is repeated under the same number     |
| the database is unreachable                     | grows later: the counts wait in the process                          |
| a process is killed with -9                     | lacks the counts since its last addition: two seconds' worth         |
| a process stops                                 | has all counts: the process adds the rest at the end                 |

A total therefore never decreases, never counts anything twice, and may lack the last seconds of a killed process. Exact
numbers are in the payments and refunds themselves, which the invariants check.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import datetime

import orjson
from sqlalchemy import BigInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base, Role, rows_parameter, transaction
from workflows.database.metrics_buffer import PROCESS_COUNTS, CountDelta
from workflows.database.mixins import INSTANT
from workflows.errors import ServiceUnavailable
from workflows.ids import new_id

logger = logging.getLogger(__name__)

ADD_SECONDS = 2.0
FORGET_AFTER = "1 day"
"""The age at which the row of an ended process in ``metric_additions`` is deleted.

That is late enough: an addition whose COMMIT was not answered is repeated within seconds.
"""


class MetricTotal(Base):
    """The total of a counter, or of a part of a histogram, with one set of labels."""

    __tablename__ = "metric_totals"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    labels: Mapped[str] = mapped_column(Text, primary_key=True)
    part: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[float]


class MetricAddition(Base):
    """The number of a process's last addition, by which a repeated addition is recognised."""

    __tablename__ = "metric_additions"

    process: Mapped[str] = mapped_column(Text, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(INSTANT)


_ADD = text(f"""
    -- add: once per process and number; rows in the order of their keys, so that two processes never wait for each other
    WITH mine AS (
        INSERT INTO metric_additions AS a (process, number, at) VALUES (:process, :number, now())
        ON CONFLICT (process) DO UPDATE SET number = excluded.number, at = excluded.at WHERE a.number < excluded.number
        RETURNING 1
    ), old AS (
        DELETE FROM metric_additions WHERE at < now() - interval '{FORGET_AFTER}' AND process <> :process
    )
    INSERT INTO metric_totals AS t (name, labels, part, value)
    SELECT r.name, r.labels, r.part, r.value
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(name text, labels text, part text, value double precision), mine
    ORDER BY r.name, r.labels, r.part
    ON CONFLICT (name, labels, part) DO UPDATE SET value = t.value + excluded.value
""")
_READ = text("SELECT name, labels, part, value FROM metric_totals ORDER BY name, labels, part")


class TotalsWriter:
    """A task that adds the counts of this process to the totals every two seconds, under the database role ``role``."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._process = new_id("process")
        self._number = 0
        self._pending: list[CountDelta] = []
        self._adding = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start adding this process's counts to the database every two seconds.

        The counts are added by a task of the running event loop.
        """
        self._task = asyncio.create_task(self._add_periodically())

    async def stop(self) -> None:
        """Stop the periodic task, and add the remaining counts."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(ServiceUnavailable):
            await self.add()

    async def add(self) -> None:
        """Add the counts since the last addition to the totals in the database.

        Raises ``ServiceUnavailable`` if the database is unreachable; the next call then repeats the same addition.
        """
        async with self._adding:
            if not self._pending:
                self._pending, self._number = PROCESS_COUNTS.pop(), self._number + 1
            if not self._pending:
                return
            rows = [
                {
                    "name": count.name,
                    "labels": orjson.dumps(count.labels).decode(),
                    "part": count.part,
                    "value": count.value,
                }
                for count in self._pending
            ]
            values = {"process": self._process, "number": self._number, "rows": rows_parameter(rows)}
            async with transaction(self._role) as connection:
                await connection.execute(_ADD, values)
            self._pending = []

    async def _add_periodically(self) -> None:
        while True:
            await asyncio.sleep(ADD_SECONDS)
            try:
                await self.add()
            except ServiceUnavailable as error:
                logger.debug("the counts of this process wait for the database: %s", error)
            except Exception:  # the task must not end, or the counts would grow for as long as the process runs
                logger.exception("adding the counts of this process failed", extra={"event": "metrics.not_added"})


async def read_totals(role: Role) -> list[CountDelta]:
    """Return all totals, one for each series and part. Totals are never deleted."""
    async with transaction(role) as connection:
        rows = await connection.execute(_READ)
        return [CountDelta(row.name, tuple(orjson.loads(row.labels)), row.part, row.value) for row in rows]

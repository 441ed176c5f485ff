"""Let the workers process what became due when the clock was moved, and report the outcomes.

The product's own sweeps are called to find what is due, so none of their rules is repeated here.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from workers.nudge import publish_task
from workflows.errors import ServiceUnavailable
from workflows.processing.due import find_due_payments, find_due_refunds
from workflows.reconciliation.auto_reconcile import find_due_reconciliations
from workflows.settings import Settings
from workflows.settlements.close import GRACE, find_due_settlements

MOST = 1_000
DONE_WITHIN_SECONDS = 30
"""Sweeps run every second, those for reconciliations every 15 seconds."""
PERIODS_WITHIN_SECONDS = 10
POLL_SECONDS = 0.2
SHOWN = 20

_MISSING = """
SELECT count(*) AS count FROM stores s WHERE NOT EXISTS (
    SELECT FROM settlements o WHERE o.store_id = s.id AND o.currency = s.currency AND o.status = 'open')
"""
_STATE = """
SELECT id, status, outcome_known, needs_review, failure_code FROM payments WHERE {which}
UNION ALL SELECT id, status, outcome_known, needs_review, failure_code FROM refunds WHERE {which} ORDER BY id
"""
_SOON = _STATE.format(which="due_at <= now() + make_interval(secs => %(seconds)s)") + " LIMIT %(most)s"
_THESE = _STATE.format(which="id = ANY(%(ids)s)")
_DAYS_SOON = """
SELECT id FROM settlements WHERE status = 'open' AND end_at <= now() + make_interval(secs => %(seconds)s) LIMIT %(most)s
"""
_ENDED = """
SELECT id, store_id, status, to_char(business_date, 'YYYY-MM-DD') AS day, coalesce(line_count, 0) AS lines, open_breaks
FROM settlements WHERE id = ANY(%(ids)s) ORDER BY end_at, id
"""
_IN_PROGRESS = """
SELECT id FROM payments WHERE id = ANY(%(ids)s) AND lease_until > now()
UNION ALL SELECT id FROM refunds WHERE id = ANY(%(ids)s) AND lease_until > now()
UNION ALL SELECT settlement_id FROM reconciliation_tries
          WHERE settlement_id = ANY(%(ids)s) AND tries > 0 AND trouble IS NULL AND due_at > now()
"""


@dataclass(slots=True)
class DueWork:
    """The work that a move makes due.

    ``before`` maps the id of a payment or refund to its state before the move. ``days`` are ids of settlements; ``left`` are
    the ids of what is still due.
    """

    before: dict[str, str] = field(default_factory=dict)
    days: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    @property
    def ids(self) -> list[str]:
        return [*self.before, *self.days]


async def record_due_work(connection: psycopg.AsyncConnection[Any], done: DueWork, *, seconds: int) -> None:
    """Record in ``done`` what will be due in ``seconds``.

    Call it before the move: after it, workers may have finished some of the work already.
    """
    cursor = connection.cursor(row_factory=dict_row)
    found = await cursor.execute(_SOON.encode(), {"seconds": seconds, "most": MOST})
    done.before.update((row["id"], _state(row)) for row in await found.fetchall())
    days = await cursor.execute(_DAYS_SOON, {"seconds": seconds - GRACE.total_seconds(), "most": MOST})
    done.days.update(row["id"] for row in await days.fetchall())


async def open_periods(connection: psycopg.AsyncConnection[Any]) -> None:
    """Have a worker open the first periods of new stores now, and wait briefly for them.

    Beat would send this task within a minute.
    """

    async def missing() -> int:
        row = await (await connection.cursor(row_factory=dict_row).execute(_MISSING)).fetchone()
        return int(row["count"]) if row else 0

    give_up_at = asyncio.get_running_loop().time() + PERIODS_WITHIN_SECONDS
    if await missing():
        try:
            await publish_task("settlements.open_due", [])
        except ServiceUnavailable:
            return  # beat sends it when the broker is back
    while await missing() and asyncio.get_running_loop().time() < give_up_at:  # noqa: ASYNC110 - another process opens them
        await asyncio.sleep(POLL_SECONDS)


async def wait_until_done(connection: psycopg.AsyncConnection[Any], done: DueWork, *, settings: Settings) -> None:
    """Wait until nothing is due or in progress any more, for at most ``DONE_WITHIN_SECONDS``."""
    give_up_at = asyncio.get_running_loop().time() + DONE_WITHIN_SECONDS
    while True:
        days = await find_due_settlements(limit=MOST) + await find_due_reconciliations(limit=MOST, settings=settings)
        others = await find_due_payments(limit=MOST) + await find_due_refunds(limit=MOST)
        done.days |= {occasion.id for occasion in days}
        in_progress = await (await connection.execute(_IN_PROGRESS, {"ids": done.ids})).fetchall()
        done.left = {occasion.id for occasion in (*days, *others)} | {row[0] for row in in_progress}
        if not done.left or asyncio.get_running_loop().time() > give_up_at:
            return
        await asyncio.sleep(POLL_SECONDS)


async def describe_outcomes(connection: psycopg.AsyncConnection[Any], done: DueWork) -> list[str]:
    """Return one line per row that was due, with its current state."""
    cursor = connection.cursor(row_factory=dict_row)
    ids = {"ids": done.ids}
    lines = [_describe_settlement(row) for row in await (await cursor.execute(_ENDED, ids)).fetchall()]
    for row in await (await cursor.execute(_THESE.encode(), ids)).fetchall():
        before, now = done.before[row["id"]], _state(row)
        lines.append(f"  {row['id']}  {before} → {now}" if before != now else f"  {row['id']}  is still {now}")
    return lines[:SHOWN] + ([f"  … and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])


def _describe_settlement(row: DictRow) -> str:
    lines = f"{row['lines']} line{'' if row['lines'] == 1 else 's'}"
    breaks = f", {row['open_breaks']} open break{'' if row['open_breaks'] == 1 else 's'}" if row["open_breaks"] else ""
    return f"  {row['id']}  {row['status']}: {row['day']} at {row['store_id']}, {lines}{breaks}"


def _state(row: DictRow) -> str:
    words = [str(row["status"]), f"({row['failure_code']})" if row["failure_code"] else ""]
    marks = ["" if row["outcome_known"] else "in doubt", "needs review" if row["needs_review"] else ""]
    return ", ".join([" ".join(filter(None, words)), *filter(None, marks)])

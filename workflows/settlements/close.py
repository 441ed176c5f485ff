"""Close settlements, each in one transaction that also opens the next period.

| step  | what                                                                                                          |
|-------|---------------------------------------------------------------------------------------------------------------|
| find  | for the sweeps: open settlements whose period ended at least ``GRACE`` ago                                     |
| lock  | the settlements' rows; a row that another worker is closing is skipped                                         |
| plan  | a period whose store changed its time zone or cut-off gets its new end, and is closed only if that has passed |
| take  | a line for each payment and refund that was completed before the end                                          |
| freeze | the figures, the status and a history row                                                                    |
| next  | a period that starts where this one ended, so there is never a gap and never a second open period             |
| mark  | the settlement's id on each payment and refund: last, because this locks them                                 |

Small settlements share a transaction; a large one gets its own, so that no other store waits for it.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, transaction
from workflows.database.hot_path import execute_alone
from workflows.errors import Detail, InvalidStatusTransition, ResourceNotFound
from workflows.processing.due import DueRow
from workflows.processing.task_summary import TextSummary
from workflows.settlements.cutoff_rules import StoreRule, load_rules
from workflows.settlements.lines import mark_taken, take_lines
from workflows.settlements.models import LockedPeriod
from workflows.settlements.periods import period_from
from workflows.settlements.states import SETTLEMENT, SettlementEvent, SettlementStatus
from workflows.settlements.totals import figures_of_lines
from workflows.settlements.write_settlements import open_row, reschedule_periods, write_closed, write_open
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.scope import IN_SCOPE, scope_params
from workflows.transitions import ChangeContext, invalid_transition_error

logger = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)
"""The time between the end of a period and its close.

A payment that is being recorded when its period ends still gets into that period; otherwise it would be a late line.
"""

_DUE = text("""
    -- due: one page of ids, longest overdue first
    SELECT id, end_at FROM settlements WHERE status = 'open' AND end_at <= now() - CAST(:grace AS interval)
    ORDER BY end_at, id LIMIT :limit
""")


async def find_due_settlements(*, limit: int) -> list[DueRow]:
    """Return up to ``limit`` settlements to close, longest overdue first."""
    found = await execute_alone(Role.SWEEP, _DUE, {"limit": limit, "grace": GRACE})
    return [DueRow(row["id"], row["end_at"], "period_ended") for row in found]


LARGE = 5_000
"""A settlement with this many waiting payments gets its own transaction: about a quarter of a second of work."""

_SET_TIMEOUT = text("SET LOCAL statement_timeout = '90s'")
"""Taking a million lines is one statement of almost a minute; a task may run 110 s (``workers.event_loop``)."""

_SIZES = text("""
    -- sizes: the number of payments that wait for each settlement; counting stops at the limit
    SELECT s.id, (SELECT count(*) FROM (
        SELECT FROM unsettled_payments u WHERE u.store_id = s.store_id AND u.currency = s.currency
        AND u.completed_at < s.end_at LIMIT :large) AS counted) AS waiting
    FROM settlements s WHERE s.id = ANY(:ids) AND s.status = 'open' ORDER BY s.id
""")

_LOCKED = """
    SELECT id, store_id, currency, status, start_at, end_at, time_zone, cut_off, clock_timestamp() AS at
    FROM settlements WHERE id = ANY(:ids)"""
_LOCK_DUE = text(f"""
    -- lock: the given settlements that are open and due; rows that another worker has locked are skipped
    {_LOCKED} AND status = 'open' AND end_at <= now() ORDER BY id FOR UPDATE SKIP LOCKED
""")
_LOCK_ONE = text(f"""
    -- lock: one settlement in any status; waits for a close that is under way
    {_LOCKED} AND {IN_SCOPE} FOR UPDATE
""")
_END_NOW = text("UPDATE settlements SET end_at = :at WHERE id = :id")


@dataclass(slots=True)
class CloseResult:
    """The result of closing settlements.

    ``lines`` maps each closed settlement's id to its number of lines, ``failed`` has the ids that could not be closed, and
    ``following`` the ids of next periods that are already due.
    """

    lines: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    following: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> TextSummary:
        """The result as a sentence for the task's log."""
        lines = sum(self.lines.values())
        parts = [f"{len(self.lines)} closed: {lines} line{'' if lines == 1 else 's'}"] if self.lines else []
        parts += [f"{len(self.failed)} could not be closed"] if self.failed else []
        return TextSummary(", ".join(parts) or "nothing to close", is_open=bool(self.failed))


async def close_settlements(settlement_ids: Sequence[str], *, worker: str) -> CloseResult:
    """Close those of the given settlements that are due.

    A repeated, late, concurrent or missing call is harmless. Raises ``ServiceUnavailable`` if the database cannot be reached.
    """
    closed = CloseResult()
    for group in await _groups(list(settlement_ids)):
        await _close_group(group, closed, worker=worker)
    return closed


async def close_manually(settlement_id: str, *, caller: Caller, request_id: str) -> str:
    """Close one settlement now and return its id.

    If its period has not ended yet, it ends now, and the next period starts now with the same business date.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (already closed, or its period has not begun) and
    ``ServiceUnavailable``.
    """
    async with caller_transaction(caller, is_long=True) as connection:
        await connection.execute(_SET_TIMEOUT)
        row = (
            (await connection.execute(_LOCK_ONE, {"ids": [settlement_id], **scope_params(caller)}))
            .mappings()
            .one_or_none()
        )
        if row is None:
            raise ResourceNotFound()
        found = cast(LockedPeriod, dict(row))
        if found["status"] != SettlementStatus.OPEN:
            raise invalid_transition_error(SETTLEMENT, found["status"], SettlementEvent.CLOSE)
        if found["at"] <= found["start_at"]:
            raise InvalidStatusTransition(
                Detail("start_at", "This period has not begun by the database's clock; close it later")
            )
        by = ChangeContext.caller(caller, at=found["at"], request_id=request_id, reason="closed by hand")
        ends = {}
        if found["end_at"] > found["at"]:
            await connection.execute(_END_NOW, {"id": settlement_id, "at": found["at"]})
            ends[settlement_id] = found["at"]
        rules = await load_rules(connection, [found["store_id"]], since=found["start_at"])
        await _close(connection, [found], rules, ends=ends, by=by)
    return settlement_id


async def _groups(ids: list[str]) -> list[list[str]]:
    """Group the ids by transaction: all small settlements together, then each large one alone."""
    async with transaction(Role.WORKER) as connection:
        sizes = (await connection.execute(_SIZES, {"ids": ids, "large": LARGE})).all()
    small = [row.id for row in sizes if row.waiting < LARGE]
    return [*([small] if small else []), *([row.id] for row in sizes if row.waiting >= LARGE)]


async def _close_group(ids: list[str], closed: CloseResult, *, worker: str) -> None:
    """Close a group in one transaction, and add the result to ``closed``.

    If the transaction fails, close the settlements one by one, so that only settlements that cannot be closed fail.
    """
    try:
        lines, following = await _close_due(ids, worker=worker)
    except (DBAPIError, ValueError, LookupError):
        logger.exception("closing settlements failed: %s", ", ".join(ids), extra={"event": "settlement.close_failed"})
        if len(ids) == 1:
            closed.failed += ids
            return
    else:
        closed.lines |= lines
        closed.following += following
        return
    for settlement_id in ids:
        await _close_group([settlement_id], closed, worker=worker)


async def _close_due(ids: list[str], *, worker: str) -> tuple[dict[str, int], list[str]]:
    async with transaction(Role.WORKER, is_long=True) as connection:
        await connection.execute(_SET_TIMEOUT)
        rows = (await connection.execute(_LOCK_DUE, {"ids": ids})).mappings()
        locked = [cast(LockedPeriod, dict(row)) for row in rows]
        if not locked:
            return {}, []
        rules = await load_rules(connection, _stores(locked), since=min(row["start_at"] for row in locked))
        ends = await reschedule_periods(connection, locked, rules)
        due = [row for row in locked if ends.get(row["id"], row["end_at"]) <= row["at"]]
        by = ChangeContext("worker", worker, locked[0]["at"])
        return await _close(connection, due, rules, ends=ends, by=by) if due else ({}, [])


async def _close(
    connection: AsyncConnection,
    locked: Sequence[LockedPeriod],
    rules: dict[str, StoreRule],
    *,
    ends: dict[str, datetime],
    by: ChangeContext,
) -> tuple[dict[str, int], list[str]]:
    """Close the locked settlements, and open the period that follows each settlement.

    ``ends`` has the new ends of rescheduled settlements; the others end as their rows say. Returns the number of lines by
    settlement, and the ids of next periods that are due already.
    """
    ids = [row["id"] for row in locked]
    await take_lines(connection, ids)
    figures = await figures_of_lines(connection, ids)
    await write_closed(connection, figures, by=by)
    following = [_following(row, rules[row["store_id"]], ends.get(row["id"], row["end_at"])) for row in locked]
    opened = await write_open(connection, following, by=by)
    await mark_taken(connection, ids)
    lines = {settlement_id: frozen["line_count"] for settlement_id, frozen in figures.items()}
    return lines, [settlement_id for settlement_id, end in opened if end <= locked[0]["at"] - GRACE]


def _following(row: LockedPeriod, store: StoreRule, end: datetime) -> dict[str, Any]:
    return open_row(period_from(end, store.rule), store, row["currency"])


def _stores(rows: Iterable[LockedPeriod]) -> set[str]:
    return {row["store_id"] for row in rows}

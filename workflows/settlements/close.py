"""Close: what a period has taken becomes lines, the figures are frozen, the next period begins. One transaction.

| step  | what                                                                                                      |
|-------|-----------------------------------------------------------------------------------------------------------|
| lock  | the settlements' rows; one that somebody else is closing is left to them                                    |
| plan  | a store whose time zone or cut-off changed gets its new end first, and is closed only if that has come too   |
| take  | lines for all that was completed before the end                                                            |
| freeze| figures, status, history                                                                                   |
| next  | the next period from where this one ended, so there is never a gap, and never two open ones                  |
| mark  | where it was settled, on each payment and refund: last, because it locks them                                |

A page of small settlements shares one transaction; a large one has its own, so that no other store waits for it.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, transaction
from workflows.errors import Detail, InvalidStatusTransition, ResourceNotFound
from workflows.processing.outcome import Summary
from workflows.settlements.cutoff_rules import StoreRule, load_rules
from workflows.settlements.due import GRACE
from workflows.settlements.lines import mark_taken, take_lines
from workflows.settlements.periods import period_from
from workflows.settlements.reschedule import reschedule_periods
from workflows.settlements.rows import LockedPeriod
from workflows.settlements.sql import open_row, write_closed, write_open
from workflows.settlements.states import SETTLEMENT, SettlementEvent, SettlementStatus
from workflows.settlements.totals import figures_of_lines
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.scope import IN_SCOPE, scope_params
from workflows.transitions import ChangeContext, invalid_transition

logger = logging.getLogger(__name__)

LARGE = 5_000
"""Waiting payments from which on a settlement has a transaction of its own: about a quarter of a second's work."""

_SET_TIMEOUT = text("SET LOCAL statement_timeout = '90s'")
"""A million lines take most of a minute in one statement; a task may take 110 s (``workers.event_loop``)."""

_SIZES = text("""
    -- sizes: which of these have many payments waiting; counting stops there
    SELECT s.id, (SELECT count(*) FROM (
        SELECT FROM payments p WHERE p.store_id = s.store_id AND p.currency = s.currency AND p.settlement_id IS NULL
        AND p.completed_at IS NOT NULL AND p.completed_at < s.end_at LIMIT :large) AS counted) AS waiting
    FROM settlements s WHERE s.id = ANY(:ids) AND s.status = 'open' ORDER BY s.id
""")

_LOCKED = """
    SELECT id, store_id, currency, status, start_at, end_at, time_zone, cut_off, clock_timestamp() AS at
    FROM settlements WHERE id = ANY(:ids)"""
_LOCK_DUE = text(f"""
    -- lock: those of the page that are open and due; what another worker closes right now is skipped
    {_LOCKED} AND status = 'open' AND end_at <= now() ORDER BY id FOR UPDATE SKIP LOCKED
""")
_LOCK_ONE = text(f"""
    -- lock: one settlement, whatever its status; waits for whoever is closing it
    {_LOCKED} AND {IN_SCOPE} FOR UPDATE
""")
_END_NOW = text("UPDATE settlements SET end_at = :at WHERE id = :id")


@dataclass(slots=True)
class CloseResult:
    """The lines of the settlements that were closed, those that could not be, and the next periods that are due already."""

    lines: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    following: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> Summary:
        """What was done, in words."""
        lines = sum(self.lines.values())
        words = [f"{len(self.lines)} closed: {lines} line{'' if lines == 1 else 's'}"] if self.lines else []
        words += [f"{len(self.failed)} could not be closed"] if self.failed else []
        return Summary(", ".join(words) or "nothing to close", is_open=bool(self.failed))


async def close_settlements(settlement_ids: Sequence[str], *, worker: str) -> CloseResult:
    """Close those of ``settlement_ids`` that are due.

    Safe to call twice, late, at once, or never. Raises ``ServiceUnavailable`` where the database is away.
    """
    closed = CloseResult()
    for group in await _groups(list(settlement_ids)):
        await _close_group(group, closed, worker=worker)
    return closed


async def close_manually(settlement_id: str, *, caller: Caller, request_id: str) -> str:
    """Close one settlement now, before its time if need be; the next begins at this instant, on the same business day.

    Returns its id. Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (it is closed), ``ServiceUnavailable``.
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
            raise invalid_transition(SETTLEMENT, found["status"], SettlementEvent.CLOSE)
        if found["at"] <= found["start_at"]:
            raise InvalidStatusTransition(Detail("start_at", "This period has not begun by the database's clock"))
        by = ChangeContext.caller(caller, at=found["at"], request_id=request_id, reason="closed by hand")
        ends = {}
        if found["end_at"] > found["at"]:
            await connection.execute(_END_NOW, {"id": settlement_id, "at": found["at"]})
            ends[settlement_id] = found["at"]
        rules = await load_rules(connection, [found["store_id"]], since=found["start_at"])
        await _close(connection, [found], rules, ends=ends, by=by)
    return settlement_id


async def _groups(ids: list[str]) -> list[list[str]]:
    """The ids in groups that share a transaction: the small ones together first, each large one by itself."""
    async with transaction(Role.WORKER) as connection:
        sizes = (await connection.execute(_SIZES, {"ids": ids, "large": LARGE})).all()
    small = [row.id for row in sizes if row.waiting < LARGE]
    return [*([small] if small else []), *([row.id] for row in sizes if row.waiting >= LARGE)]


async def _close_group(ids: list[str], closed: CloseResult, *, worker: str) -> None:
    """Close in one transaction; where that fails, one by one, so that a bad one holds up nobody else."""
    try:
        lines, following = await _close_due(ids, worker=worker)
    except (DBAPIError, ValueError, LookupError):
        logger.exception("closing failed: %s", ", ".join(ids))
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
    """Close ``locked``, whose ends are their own or those in ``ends``, and open what follows.

    Returns how many lines each has, and the ids of the next periods that are due already.
    """
    ids = [row["id"] for row in locked]
    await take_lines(connection, ids)
    figures = await figures_of_lines(connection, ids)
    await write_closed(connection, figures, by=by)
    following = [_following(row, rules[row["store_id"]], ends.get(row["id"], row["end_at"])) for row in locked]
    opened = await write_open(connection, following, by=by)
    await mark_taken(connection, ids)
    lines = {one: frozen["line_count"] for one, frozen in figures.items()}
    return lines, [settlement_id for settlement_id, end in opened if end <= locked[0]["at"] - GRACE]


def _following(row: LockedPeriod, store: StoreRule, end: datetime) -> dict[str, Any]:
    return open_row(period_from(end, store.rule), store, row["currency"])


def _stores(rows: Iterable[LockedPeriod]) -> set[str]:
    return {row["store_id"] for row in rows}

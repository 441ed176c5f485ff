"""Open the first periods of stores and currencies, and reschedule periods whose cut-off rule changed.

| case                                              | period                                                          |
|---------------------------------------------------|-----------------------------------------------------------------|
| a store without a period in its own currency      | starts with the business day on which the store was opened       |
| a store's first sale in another currency          | starts with the business day of that sale                       |
| a running period whose store changed its rule     | ends at the next boundary by the new rule                       |

After the first period the chain continues by itself, because each close opens the next period. Two workers may open periods
concurrently: the keys of a period are unique, and the second insert changes nothing.
"""

import logging
from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, transaction
from workflows.settlements.cutoff_rules import load_rules
from workflows.settlements.models import RunningPeriod
from workflows.settlements.periods import first_period
from workflows.settlements.write_settlements import open_row, reschedule_periods, write_open
from workflows.transitions import ChangeContext

logger = logging.getLogger(__name__)

PAGE = 500
"""Stores per transaction; opening their periods takes a tenth of a second."""

_WITHOUT = text("""
    -- without: stores with no running period in their own currency. After a change of currency it begins with the change.
    SELECT s.id AS store_id, s.currency, CASE WHEN EXISTS (SELECT FROM settlements x WHERE x.store_id = s.id)
        THEN s.updated_at ELSE s.created_at END AS begins_at, now() AS at
    FROM stores s
    WHERE NOT EXISTS (SELECT FROM settlements o WHERE o.store_id = s.id AND o.currency = s.currency AND o.status = 'open')
    ORDER BY s.id LIMIT :limit
""")
_FOREIGN = text("""
    -- foreign: the first sale of each store and currency without a running period, by one index look-up for each
    WITH RECURSIVE waiting AS (
        (SELECT store_id, currency, completed_at FROM unsettled_payments ORDER BY store_id, currency, completed_at LIMIT 1)
        UNION ALL
        SELECT n.store_id, n.currency, n.completed_at FROM waiting w CROSS JOIN LATERAL (
            SELECT store_id, currency, completed_at FROM unsettled_payments u
            WHERE (u.store_id, u.currency) > (w.store_id, w.currency)
            ORDER BY store_id, currency, completed_at LIMIT 1) n
    )
    SELECT w.store_id, w.currency, w.completed_at AS begins_at, now() AS at FROM waiting w
    WHERE NOT EXISTS (SELECT FROM settlements o WHERE o.store_id = w.store_id AND o.currency = w.currency
                      AND o.status = 'open')
    ORDER BY w.store_id, w.currency LIMIT :limit
""")
_CHANGED = text("""
    -- changed: running periods whose store changed its rule before they ended
    SELECT o.id, o.store_id, o.start_at, o.end_at, o.time_zone, o.cut_off
    FROM settlements o JOIN stores s ON s.id = o.store_id
    WHERE o.status = 'open' AND (o.time_zone, o.cut_off) <> (s.time_zone, s.cut_off) AND s.updated_at < o.end_at
    ORDER BY o.id LIMIT :limit FOR UPDATE OF o SKIP LOCKED
""")
_SET_TIMEOUT = text("SET LOCAL statement_timeout = '60s'")
"""The search for waiting sales visits each store once; with 100,000 stores that takes seconds."""


async def open_due_periods(*, worker: str) -> int:
    """Open missing periods, reschedule periods whose rule changed, and return the number of all these.

    Raises ``ServiceUnavailable``.
    """
    done = 0
    for search in (_WITHOUT, _FOREIGN):
        while True:
            opened = await _open_page(search, worker=worker)
            done += opened
            if opened < PAGE:
                break
    while (rescheduled := await _reschedule_page()) == PAGE:
        done += rescheduled
    return done + rescheduled


async def _open_page(search: Any, *, worker: str) -> int:
    async with transaction(Role.WORKER, is_long=True) as connection:
        await connection.execute(_SET_TIMEOUT)
        missing = (await connection.execute(search, {"limit": PAGE})).mappings().all()
        return await _open(connection, missing, worker=worker) if missing else 0


async def _open(connection: AsyncConnection, missing: Sequence[RowMapping], *, worker: str) -> int:
    since = min(row["begins_at"] for row in missing)
    rules = await load_rules(connection, {row["store_id"] for row in missing}, since=since)
    rows = []
    for row in missing:
        store = rules[row["store_id"]]
        try:
            period = first_period(row["begins_at"], store.rule)
        except (LookupError, ValueError):  # this machine does not know the time zone; the other stores are still opened
            logger.exception(
                "cannot open a period for store %s: its time zone %s is unknown here",
                store.store_id,
                store.rule.time_zone,
                extra={"event": "settlement.unknown_time_zone"},
            )
            continue
        rows.append(open_row(period, store, row["currency"]))
    return len(await write_open(connection, rows, by=ChangeContext("worker", worker, missing[0]["at"])))


async def _reschedule_page() -> int:
    async with transaction(Role.WORKER) as connection:
        rows = (await connection.execute(_CHANGED, {"limit": PAGE})).mappings()
        changed = [cast(RunningPeriod, dict(row)) for row in rows]
        if changed:
            since = min(row["start_at"] for row in changed)
            rules = await load_rules(connection, {row["store_id"] for row in changed}, since=since)
            await reschedule_periods(connection, changed, rules)
        return len(changed)

"""Reschedule the running periods of stores whose time zone or cut-off changed.

A running period has its start unchanged and ends at the next boundary by the new rule, counted from the change. A period that
ended before the change is not rescheduled.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.cutoff_rules import StoreRule
from workflows.settlements.periods import rescheduled
from workflows.settlements.rows import RunningPeriod
from workflows.settlements.sql import period_row, write_schedule


def has_new_rule(row: RunningPeriod, store: StoreRule) -> bool:
    """Return whether the store's rule changed while this period was running."""
    is_same = (row["time_zone"], row["cut_off"]) == (store.rule.time_zone, store.rule.cut_off)
    return not is_same and store.changed_at < row["end_at"]


async def reschedule_periods(
    connection: AsyncConnection, locked: Sequence[RunningPeriod], rules: dict[str, StoreRule]
) -> dict[str, datetime]:
    """Write the new ends of locked open periods whose rule changed, and return these ends by id."""
    rows = []
    for row in locked:
        store = rules[row["store_id"]]
        if has_new_rule(row, store):
            period = rescheduled(row["start_at"], changed_at=store.changed_at, rule=store.rule)
            rows.append({"id": row["id"], **period_row(period, store)})
    if rows:
        await write_schedule(connection, rows)
    return {row["id"]: row["end_at"] for row in rows}

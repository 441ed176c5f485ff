"""Plan: when the running periods end, now that their store's time zone, cut-off or override has changed.

A running period keeps its start and ends at the next boundary by the new rule, counted from the change. What had ended
before the change keeps its end.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.cutoff_rules import StoreRule
from workflows.settlements.periods import rescheduled
from workflows.settlements.rows import RunningPeriod
from workflows.settlements.sql import period_row, write_schedule


def has_new_rule(row: RunningPeriod, store: StoreRule) -> bool:
    """Whether the store's rule changed while the period ``row`` was running."""
    is_same = (row["time_zone"], row["cut_off"]) == (store.rule.time_zone, store.rule.cut_off)
    return not is_same and store.changed_at < row["end_at"]


async def reschedule_periods(
    connection: AsyncConnection, locked: Sequence[RunningPeriod], rules: dict[str, StoreRule]
) -> dict[str, datetime]:
    """Give those of the ``locked`` open periods whose rule changed their new end; returns it by their ids."""
    rows = []
    for row in locked:
        store = rules[row["store_id"]]
        if has_new_rule(row, store):
            period = rescheduled(row["start_at"], changed_at=store.changed_at, rule=store.rule)
            rows.append({"id": row["id"], **period_row(period, store)})
    if rows:
        await write_schedule(connection, rows)
    return {row["id"]: row["end_at"] for row in rows}

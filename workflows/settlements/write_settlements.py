"""Insert, close and reschedule settlements, many per statement, each with its history row.

A running period whose store changed its time zone or cut-off is rescheduled: its start is unchanged, and it ends at the next
boundary of the new rule after the change. A period that ended before the change is not rescheduled.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import rows_parameter
from workflows.ids import new_id
from workflows.settlements.cutoff_rules import StoreRule
from workflows.settlements.models import RunningPeriod, SettlementFigures
from workflows.settlements.periods import SettlementPeriod, reschedule
from workflows.settlements.states import SETTLEMENT
from workflows.transitions import ChangeContext

_OPEN = text("""
    -- open: insert periods and their first history rows; a period that another worker has opened meanwhile is skipped
    WITH opened AS (
        INSERT INTO settlements (id, merchant_id, store_id, currency, business_date, start_at, end_at, time_zone, cut_off,
                                 status, version, created_at)
        SELECT id, merchant_id, store_id, currency, business_date, start_at, end_at, time_zone, cut_off, status, 1,
               clock_timestamp()
        FROM jsonb_populate_recordset(NULL::settlements, CAST(:rows AS jsonb)) ORDER BY store_id, currency
        ON CONFLICT DO NOTHING
        RETURNING id, merchant_id, store_id, status, created_at, end_at
    ), history AS (
        INSERT INTO settlement_history (settlement_id, version, merchant_id, store_id, event, to_status, at, caller_type,
                                        caller_id, request_id)
        SELECT id, 1, merchant_id, store_id, 'create', status, created_at, :caller_type, :caller_id, :request_id FROM opened
    )
    SELECT id, end_at FROM opened ORDER BY id
""")

_CLOSE = text("""
    -- close: write figures, status and history of settlements that this transaction has locked
    WITH closed AS (
        UPDATE settlements s
        SET status = 'closed', version = s.version + 1, closed_at = clock_timestamp(),
            line_count = i.line_count, gross_amount = i.gross_amount, refunds_amount = i.refunds_amount,
            fees_amount = i.fees_amount, adjustments_amount = i.adjustments_amount, net_amount = i.net_amount,
            breakdown = i.breakdown, late_count = i.late_count, in_doubt_count = i.in_doubt_count,
            in_doubt_amount = i.in_doubt_amount, cash_expected = i.cash_expected
        FROM jsonb_populate_recordset(NULL::settlements, CAST(:rows AS jsonb)) i
        WHERE s.id = i.id AND s.status = 'open'
        RETURNING s.id, s.version, s.merchant_id, s.store_id, s.closed_at
    )
    INSERT INTO settlement_history (settlement_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                    caller_type, caller_id, reason, request_id)
    SELECT id, version, merchant_id, store_id, 'close', 'open', 'closed', closed_at, :caller_type, :caller_id, :reason,
           :request_id
    FROM closed
""")

_RESCHEDULE = text("""
    -- reschedule: write the new ends of open periods, and the rules that they follow from
    UPDATE settlements s
    SET end_at = i.end_at, business_date = i.business_date, time_zone = i.time_zone, cut_off = i.cut_off
    FROM jsonb_populate_recordset(NULL::settlements, CAST(:rows AS jsonb)) i
    WHERE s.id = i.id AND s.status = 'open'
""")


def period_row(period: SettlementPeriod, store: StoreRule) -> dict[str, Any]:
    """Return the columns of a settlement that follow from its period and its store's rule."""
    return {
        "business_date": period.business_date,
        "start_at": period.start,
        "end_at": period.end,
        "time_zone": store.rule.time_zone,
        "cut_off": store.rule.cut_off,
    }


def open_row(period: SettlementPeriod, store: StoreRule, currency: str) -> dict[str, Any]:
    """Return the row of a new settlement for ``period``."""
    return {
        "id": new_id("settlement"),
        "merchant_id": store.merchant_id,
        "store_id": store.store_id,
        "currency": currency,
        "status": SETTLEMENT.initial[0],
        **period_row(period, store),
    }


async def write_open(
    connection: AsyncConnection, rows: Sequence[dict[str, Any]], *, by: ChangeContext
) -> list[tuple[str, datetime]]:
    """Insert settlements (rows of ``open_row``), and return id and end of each settlement that is new."""
    author = {"caller_type": by.caller_type, "caller_id": by.caller_id, "request_id": by.request_id}
    opened = await connection.execute(_OPEN, {"rows": rows_parameter(list(rows)), **author})
    return [(row.id, row.end_at) for row in opened]


async def write_closed(
    connection: AsyncConnection, figures: dict[str, SettlementFigures], *, by: ChangeContext
) -> None:
    """Close the locked settlements of ``figures``, which maps each settlement's id to its final figures."""
    rows = [{"id": settlement_id, **frozen} for settlement_id, frozen in sorted(figures.items())]
    author = {
        "caller_type": by.caller_type,
        "caller_id": by.caller_id,
        "reason": by.reason,
        "request_id": by.request_id,
    }
    await connection.execute(_CLOSE, {"rows": rows_parameter(rows), **author})


async def write_schedule(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Write new ends of open settlements. ``rows`` are those of ``period_row`` with their ``id``."""
    await connection.execute(_RESCHEDULE, {"rows": rows_parameter(list(rows))})


def has_new_rule(row: RunningPeriod, store: StoreRule) -> bool:
    """Return whether the store's rule changed while this period was running."""
    is_same = (row["time_zone"], row["cut_off"]) == (store.rule.time_zone, store.rule.cut_off)
    return not is_same and store.changed_at < row["end_at"]


async def reschedule_periods(
    connection: AsyncConnection, locked: Sequence[RunningPeriod], rules: dict[str, StoreRule]
) -> dict[str, datetime]:
    """Write the new ends of the locked open periods whose rule changed, and return these ends by id."""
    rows = []
    for row in locked:
        store = rules[row["store_id"]]
        if has_new_rule(row, store):
            period = reschedule(row["start_at"], changed_at=store.changed_at, rule=store.rule)
            rows.append({"id": row["id"], **period_row(period, store)})
    if rows:
        await write_schedule(connection, rows)
    return {row["id"]: row["end_at"] for row in rows}

"""Reconcile a closed settlement once it has no open break, no expected line and no cash to be counted."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.states import SETTLEMENT, SettlementEvent, SettlementStatus
from workflows.transitions import ChangeContext, apply

_STATE = text("""
    -- state: the settlement with its last run; without a run there is no row. EXISTS, because there may be a million open
    -- breaks. A statement that was stored after the run has not been compared.
    SELECT s.status, s.cash_expected, s.cash_actual, r.number AS run,
           coalesce(CAST(s.uncompared ->> 'needs_acceptance' AS boolean), false) AS needs_acceptance,
           CAST(r.summary #>> '{categories,expected,count}' AS bigint) AS expected,
           EXISTS (SELECT FROM breaks b
                   WHERE b.settlement_id = s.id AND b.run = r.number AND b.resolution IS NULL) AS has_open_breaks,
           EXISTS (SELECT FROM (SELECT DISTINCT ON (provider) id FROM statements WHERE settlement_id = s.id
                                ORDER BY provider, number DESC) newest
                   WHERE newest.id <> ALL (r.statement_ids)) AS has_newer_statement
    FROM settlements s JOIN reconciliation_runs r ON r.settlement_id = s.id
    WHERE s.id = :id ORDER BY r.number DESC LIMIT 1
""")


async def complete_if_clean(connection: AsyncConnection, settlement_id: str, *, by: ChangeContext) -> bool:
    """Reconcile a locked settlement if it is clean, and return whether it was.

    Clean means: no open break, no statement stored after the last run, no line that a statement may still bring, no line
    without a statement (unless a person accepted that), and the cash counted if any is expected.
    """
    row = (await connection.execute(_STATE, {"id": settlement_id})).mappings().one_or_none()
    if row is None or not is_clean(dict(row)):
        return False
    changes = {"open_breaks": 0, "reconciled_at": by.at, "reconciled_by": by.caller_id}
    await apply(
        connection, SETTLEMENT, entity_id=settlement_id, event=SettlementEvent.RECONCILE, by=by, changes=changes
    )
    return True


def is_clean(row: dict[str, Any]) -> bool:
    """Return whether nothing prevents this settlement from being reconciled."""
    is_counted = row["cash_actual"] is not None or row["cash_expected"] == 0
    return bool(
        row["status"] == SettlementStatus.CLOSED
        and not row["has_open_breaks"]
        and not row["has_newer_statement"]
        and not row["expected"]
        and not row["needs_acceptance"]
        and is_counted
    )

"""Load the data of a report in one transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from workflows.database.engines import use_bulk_settings
from workflows.errors import Detail, InvalidStatusTransition
from workflows.reconciliation.queries import break_fields
from workflows.settlements.queries import one_settlement, settlement_fields
from workflows.settlements.states import SettlementStatus
from workflows.tenants.caller import Caller, caller_transaction

MAX_BREAKS = 200
"""The largest number of breaks in a report; exports have all breaks."""

_NAMES = text("""
    SELECT s.name AS store, m.name AS merchant FROM stores s LEFT JOIN merchants m ON m.id = s.merchant_id WHERE s.id = :id
""")
_GROUPS = text("""
    -- groups: one row for each method, provider and brand; they add up to the settlement's frozen figures
    SELECT method_type, provider, brand, count(*) AS count,
           coalesce(sum(amount) FILTER (WHERE kind = 'payment'), 0)::bigint AS gross,
           coalesce(-sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunds,
           sum(fee)::bigint AS fees,
           coalesce(sum(amount) FILTER (WHERE kind = 'adjustment'), 0)::bigint AS adjustments
    FROM settlement_lines WHERE settlement_id = :id
    GROUP BY method_type, provider, brand ORDER BY method_type NULLS LAST, provider, brand NULLS LAST
""")
_RUN = text("SELECT * FROM reconciliation_runs WHERE settlement_id = :id ORDER BY number DESC LIMIT 1")
_BREAKS = text("""
    SELECT *, now() AS now FROM breaks WHERE settlement_id = :id AND run = :run
    ORDER BY resolution IS NOT NULL, category, id LIMIT :limit
""")
_COUNT = text("SELECT count(*), now() AS now FROM breaks WHERE settlement_id = :id AND run = :run")


@dataclass(frozen=True, slots=True)
class ReportData:
    """The data of one report."""

    settlement: dict[str, Any]
    store: str
    merchant: str
    groups: list[dict[str, Any]]
    run: dict[str, Any] | None
    breaks: list[dict[str, Any]]
    break_count: int
    at: datetime


async def load_report(settlement_id: str, *, caller: Caller) -> ReportData:
    """Return the data of a report. Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (still open)."""
    async with caller_transaction(caller, is_long=True) as connection:
        row = await one_settlement(connection, settlement_id, caller)
        if row["status"] == SettlementStatus.OPEN:
            raise InvalidStatusTransition(
                Detail("status", "The settlement is open; close it first"),
                message="A report needs a closed settlement",
            )
        await use_bulk_settings(connection)
        wanted = {"id": settlement_id}
        names = (await connection.execute(_NAMES, {"id": row["store_id"]})).mappings().one()
        groups = [dict(group) for group in (await connection.execute(_GROUPS, wanted)).mappings()]
        run = (await connection.execute(_RUN, wanted)).mappings().one_or_none()
        of_run = {**wanted, "run": run["number"] if run else 0}
        found = await connection.execute(_BREAKS, {**of_run, "limit": MAX_BREAKS})
        breaks = [break_fields(dict(row)) for row in found.mappings()]
        count, at = (await connection.execute(_COUNT, of_run)).one()
    return ReportData(
        settlement=settlement_fields(row),
        store=names["store"],
        merchant=names["merchant"] or "",
        groups=groups,
        run=dict(run) if run else None,
        breaks=breaks,
        break_count=count,
        at=at,
    )

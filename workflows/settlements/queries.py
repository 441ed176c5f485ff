"""Read settlements and their lines, and convert them to the fields of the API.

An open settlement is read with the figures that it would have if it were closed now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

from sqlalchemy import ColumnElement, false, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.models import ListedLine, Settlement, SettlementLine, SettlementRow
from workflows.settlements.states import SettlementStatus
from workflows.settlements.totals import figures_so_far
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import equal_filters, one_row, page_of
from workflows.tenants.scope import visible_to
from workflows.tenants.walk import Walk, read_page, stores_named

_SET_TIMEOUT = text("SET LOCAL statement_timeout = '60s'")
"""Reading an open settlement adds up its sales; for a million sales that takes seconds."""


@dataclass(frozen=True, slots=True)
class SettlementFilter:
    """The conditions by which settlements are listed; ``None`` means any value."""

    store_id: str | None = None
    status: str | None = None
    business_date: date | None = None
    needs_acceptance: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of the WHERE clause, except that of the store."""
        conditions = equal_filters(Settlement, self, "status", "business_date")
        if self.needs_acceptance is not None:
            waits = func.coalesce(Settlement.uncompared["needs_acceptance"].as_boolean(), false())
            conditions.append(waits.is_(self.needs_acceptance))
        return conditions


async def read_settlement(settlement_id: str, *, caller: Caller) -> SettlementRow:
    """Return a settlement's row, with the figures so far if it is open. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        row = await one_settlement(connection, settlement_id, caller)
    if row["status"] != SettlementStatus.OPEN:
        return row
    async with caller_transaction(caller, is_long=True) as connection:
        await connection.execute(_SET_TIMEOUT)
        row = await one_settlement(connection, settlement_id, caller)
        if row["status"] == SettlementStatus.OPEN:  # untested: false after a close between the two transactions
            figures = (await figures_so_far(connection, [settlement_id]))[settlement_id]
            return {**row, **figures}
    return row  # untested: after such a close


async def list_settlements(
    wanted: SettlementFilter, *, caller: Caller, limit: int, before: str | None
) -> list[SettlementRow]:
    """Return up to ``limit`` settlements older than the id ``before``, newest first.

    Open settlements have no figures.
    """
    walk = Walk(
        model=Settlement, caller=caller, conditions=wanted.conditions(), stores=stores_named(wanted.store_id, caller)
    )
    async with caller_transaction(caller) as connection:
        return cast(list[SettlementRow], await read_page(connection, walk, limit=limit, before=before))


async def list_lines(settlement_id: str, *, caller: Caller, limit: int, before: str | None) -> list[ListedLine]:
    """Return up to ``limit`` lines whose entity id is below ``before``, by descending entity id.

    Each line repeats its ``entity_id`` as ``id``. The prefixes of the ids sort refunds first, then payments, then adjustments,
    each newest first. Raises ``ResourceNotFound``.
    """
    statement = select(SettlementLine.__table__, SettlementLine.entity_id.label("id")).where(
        SettlementLine.settlement_id == settlement_id
    )
    async with caller_transaction(caller) as connection:
        await one_settlement(connection, settlement_id, caller)
        page = await page_of(connection, statement, by=SettlementLine.entity_id, limit=limit, before=before)
    return cast(list[ListedLine], page)


async def one_settlement(connection: AsyncConnection, settlement_id: str, caller: Caller) -> SettlementRow:
    """Return a settlement's row, read on ``connection``. Raises ``ResourceNotFound``."""
    statement = select(Settlement.__table__).where(
        Settlement.id == settlement_id, *visible_to(caller, Settlement.merchant_id, Settlement.store_id)
    )
    return cast(SettlementRow, await one_row(connection, statement))


LINE_FIELDS = (
    "kind",
    "entity_id",
    "settlement_id",
    "payment_id",
    "provider",
    "provider_reference",
    "our_reference",
    "method_type",
    "brand",
    "currency",
    "amount",
    "tip_amount",
    "fee",
    "occurred_at",
    "business_date",
    "is_late",
)
"""The fields of a line in the API and in exports, in this order."""

OVERRIDE_FIELDS = ("store_id", "business_date", "ends_at_local", "ends_at", "reason", "created_at", "created_by")


def settlement_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of a row of ``settlements``.

    ``totals``, ``breakdown``, ``in_doubt`` and ``cash_expected`` of an open settlement are null, unless ``row`` has its
    figures so far (``totals.figures_so_far``).
    """
    amounts = ("gross", "refunds", "fees", "adjustments", "net")
    has_figures = row["line_count"] is not None
    totals = {"count": row["line_count"], **{name: row[f"{name}_amount"] for name in amounts}}
    actual = row["cash_actual"]
    return {
        **{name: row[name] for name in ("id", "merchant_id", "store_id", "currency", "business_date")},
        **{name: row[name] for name in ("start_at", "end_at", "time_zone")},
        "cut_off": f"{row['cut_off']:%H:%M}",
        "status": row["status"],
        "version": row["version"],
        "totals": totals if has_figures else None,
        "breakdown": row["breakdown"],
        "late_count": row["late_count"],
        "in_doubt": {"count": row["in_doubt_count"], "amount": row["in_doubt_amount"]} if has_figures else None,
        "cash_expected": row["cash_expected"],
        "cash_actual": actual,
        "cash_discrepancy": None if actual is None else actual - row["cash_expected"],
        **{
            name: row[name]
            for name in (
                "note",
                "open_breaks",
                "uncompared",
                "created_at",
                "closed_at",
                "reconciled_at",
                "reconciled_by",
            )
        },
    }


def line_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of a settlement's line."""
    return {name: row[name] for name in LINE_FIELDS}


def override_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of an override. ``row`` has its columns and ``ends_at``."""
    return {name: row[name] for name in OVERRIDE_FIELDS}

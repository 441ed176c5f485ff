"""Read settlements and their lines. An open settlement is read with the figures it would have now."""

from dataclasses import dataclass
from datetime import date
from typing import cast

from sqlalchemy import ColumnElement, false, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.models import Settlement, SettlementLine
from workflows.settlements.rows import ListedLine, SettlementRow
from workflows.settlements.states import SettlementStatus
from workflows.settlements.totals import figures_so_far
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import equal_filters, one_row, page_of
from workflows.tenants.scope import visible_to

_SET_TIMEOUT = text("SET LOCAL statement_timeout = '60s'")
"""Reading an open settlement adds up its sales; for a million of them that takes seconds."""


@dataclass(frozen=True, slots=True)
class SettlementFilter:
    """Which settlements to list; ``None`` means any."""

    store_id: str | None = None
    status: str | None = None
    business_date: date | None = None
    needs_acceptance: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of the WHERE clause."""
        conditions = equal_filters(Settlement, self, "store_id", "status", "business_date")
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
        if row["status"] == SettlementStatus.OPEN:
            figures = (await figures_so_far(connection, [settlement_id]))[settlement_id]
            return {**row, **figures}
    return row


async def list_settlements(
    wanted: SettlementFilter, *, caller: Caller, limit: int, before: str | None
) -> list[SettlementRow]:
    """Return up to ``limit`` settlements older than the id ``before``, newest first.

    Open settlements have no figures.
    """
    conditions = [*visible_to(caller, Settlement.merchant_id, Settlement.store_id), *wanted.conditions()]
    async with caller_transaction(caller) as connection:
        statement = select(Settlement.__table__).where(*conditions)
        page = await page_of(connection, statement, by=Settlement.id, limit=limit, before=before)
    return cast(list[SettlementRow], page)


async def list_lines(settlement_id: str, *, caller: Caller, limit: int, before: str | None) -> list[ListedLine]:
    """Return up to ``limit`` lines by descending entity id, which each line also has as ``id``.

    Refunds come first, then payments, then adjustments, the newest of each kind first. Raises ``ResourceNotFound``.
    """
    statement = select(SettlementLine.__table__, SettlementLine.entity_id.label("id")).where(
        SettlementLine.settlement_id == settlement_id
    )
    async with caller_transaction(caller) as connection:
        await one_settlement(connection, settlement_id, caller)
        page = await page_of(connection, statement, by=SettlementLine.entity_id, limit=limit, before=before)
    return cast(list[ListedLine], page)


async def one_settlement(connection: AsyncConnection, settlement_id: str, caller: Caller) -> SettlementRow:
    """Return a settlement's row in the caller's transaction. Raises ``ResourceNotFound``."""
    statement = select(Settlement.__table__).where(
        Settlement.id == settlement_id, *visible_to(caller, Settlement.merchant_id, Settlement.store_id)
    )
    return cast(SettlementRow, await one_row(connection, statement))

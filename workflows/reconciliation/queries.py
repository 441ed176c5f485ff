"""Read breaks, runs and statements, and convert them to the fields of the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.reconciliation.models import Break, ListedBreak, ReconciliationRun, RunRow, StatementRow
from workflows.reconciliation.statements.models import Statement
from workflows.settlements.models import Settlement
from workflows.tenants.actor import Actor
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import one_row, page_of
from workflows.tenants.scope import visible_to


@dataclass(frozen=True, slots=True)
class BreakFilter:
    """The conditions by which a settlement's breaks are listed; ``None`` means any value."""

    category: str | None = None
    is_open: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of the WHERE clause."""
        conditions: list[ColumnElement[bool]] = []
        if self.category is not None:
            conditions.append(Break.category == self.category)
        if self.is_open is not None:
            conditions.append(Break.resolution.is_(None) if self.is_open else Break.resolution.is_not(None))
        return conditions


async def list_breaks(
    settlement_id: str, wanted: BreakFilter, *, caller: Caller, limit: int, before: str | None
) -> list[ListedBreak]:
    """Return up to ``limit`` breaks of the last run by descending id. Raises ``ResourceNotFound``."""
    last_run = (
        select(func.coalesce(func.max(ReconciliationRun.number), 0))
        .where(ReconciliationRun.settlement_id == settlement_id)
        .scalar_subquery()
    )
    statement = select(Break.__table__, func.now().label("now")).where(
        Break.settlement_id == settlement_id, Break.run == last_run, *wanted.conditions()
    )
    async with caller_transaction(caller) as connection:
        await Actor(caller).require_visible(connection, Settlement, settlement_id)
        page = await page_of(connection, statement, by=Break.id, limit=limit, before=before)
    return cast(list[ListedBreak], page)


async def list_runs(settlement_id: str, *, caller: Caller) -> list[RunRow]:
    """Return the last hundred runs, newest first. Raises ``ResourceNotFound``."""
    statement = select(ReconciliationRun.__table__).where(ReconciliationRun.settlement_id == settlement_id)
    async with caller_transaction(caller) as connection:
        await Actor(caller).require_visible(connection, Settlement, settlement_id)
        page = await page_of(connection, statement, by=ReconciliationRun.number, limit=100)
    return cast(list[RunRow], page)


async def list_statements(settlement_id: str, *, caller: Caller) -> list[StatementRow]:
    """Return the last hundred statements of a settlement, newest first. Raises ``ResourceNotFound``."""
    statement = select(Statement.__table__).where(Statement.settlement_id == settlement_id)
    async with caller_transaction(caller) as connection:
        await Actor(caller).require_visible(connection, Settlement, settlement_id)
        page = await page_of(connection, statement, by=Statement.number, limit=100)
    return cast(list[StatementRow], page)


async def one_break(connection: AsyncConnection, break_id: str, caller: Caller) -> ListedBreak:
    """Return a break, with the present time as ``now``. Raises ``ResourceNotFound``."""
    conditions = visible_to(caller, Break.merchant_id, Break.store_id)
    statement = select(Break.__table__, func.now().label("now")).where(Break.id == break_id, *conditions)
    return cast(ListedBreak, await one_row(connection, statement))


BREAK_FIELDS = (
    "id",
    "settlement_id",
    "run",
    "category",
    "provider",
    "kind",
    "entity_id",
    "our_reference",
    "provider_reference",
    "currency",
    "ours",
    "theirs",
)
RESOLUTION_FIELDS = (
    "owner",
    "waits_for",
    "resolution",
    "note",
    "reference",
    "other_reference",
    "resolved_at",
    "resolved_by",
)
STATEMENT_FIELDS = (
    "id",
    "settlement_id",
    "number",
    "provider",
    "source",
    "format",
    "sha256",
    "size_bytes",
    "line_count",
    "mapping",
    "created_at",
    "created_by",
)


def break_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of a row of ``breaks`` that also has ``now``.

    ``difference`` is ``ours − theirs`` in the settlement's currency: of amounts, or of fees for a ``fee_mismatch``.
    ``age_days`` are whole days from the run that first found the break until now, or until it was resolved.
    """
    is_fee = row["category"] == "fee_mismatch"
    until = row["resolved_at"] or row["now"]
    return {
        **{name: row[name] for name in BREAK_FIELDS},
        "difference": row["fee_difference"] if is_fee else row["difference"],
        "fee_difference": row["fee_difference"],
        "our_line": row["our_line"],
        "their_line": row["their_line"],
        "opened_at": row["opened_at"],
        "age_days": (until - row["opened_at"]).days,
        **{name: row[name] for name in RESOLUTION_FIELDS},
    }


def statement_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of a row of ``statements``."""
    return {name: row[name] for name in STATEMENT_FIELDS}

"""Read one row or a page of rows, and build conditions from the filters of a list.

The conditions for the tenant come from ``scope``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Executable, Select, TextClause, column, literal_column, not_, select, table
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from workflows.database.connection import Connection
from workflows.database.mixins import OVERDUE
from workflows.errors import Detail, MalformedRequest, ResourceNotFound
from workflows.tenants.paging import check_cursor

MappedColumn = InstrumentedAttribute[Any]


async def one_row(
    connection: AsyncConnection, statement: Executable, parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the row that ``statement`` finds. Raises ``ResourceNotFound`` if it finds no row."""
    row = (await connection.execute(statement, parameters)).mappings().one_or_none()
    if row is None:
        raise ResourceNotFound()
    return dict(row)


async def one_text_row(connection: Connection, statement: TextClause, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row that a statement as text finds. Raises ``ResourceNotFound`` if there is none."""
    row = (await connection.execute(statement, parameters)).mappings().one_or_none()
    if row is None:
        raise ResourceNotFound()
    return dict(row)


async def page_of(
    connection: AsyncConnection, statement: Select[Any], *, by: MappedColumn, limit: int, before: Any = None
) -> list[dict[str, Any]]:
    """Return up to ``limit`` rows of ``statement``, in descending order of ``by``.

    If ``before`` is given, return only rows whose ``by`` is lower. Raises ``InvalidRequest`` if it is an id of another list.
    """
    check_cursor(by.class_, before)
    if before:
        statement = statement.where(by < before)
    found = await connection.execute(statement.order_by(by.desc()).limit(limit))
    return [dict(row) for row in found.mappings()]


def equal_filters(model: type, wanted: object, *names: str) -> list[ColumnElement[bool]]:
    """Return a condition for each column in ``names``: it equals that attribute of ``wanted``.

    An attribute that is ``None`` adds no condition.
    """
    return [getattr(model, name) == value for name in names if (value := getattr(wanted, name)) is not None]


def in_range(column: MappedColumn, start: datetime | None, end: datetime | None) -> list[ColumnElement[bool]]:
    """Return the conditions that ``column`` lies within ``[start, end)``. ``None`` means no bound.

    Raises ``MalformedRequest`` if the range ends before it begins.
    """
    if start and end and start > end:
        name = column.key.removesuffix("_at")
        raise MalformedRequest(Detail(f"{name}_from", f"Must not be after {name}_to"))
    return [*([column >= start] if start else []), *([column < end] if end else [])]


def _listed(model: Any, name: str, **wanted: str) -> ColumnElement[bool]:
    """Return the condition that a row is in the narrow table ``name`` (migration 0027)."""
    listed = table(name, column("id"), *(column(key) for key in wanted))
    conditions = [listed.c[key] == value for key, value in wanted.items()]
    found: ColumnElement[bool] = model.id.in_(select(listed.c.id).where(*conditions))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyFilter:
    """The filter that lists of payments and of refunds share. ``None`` means any value.

    Both ends of the range of amounts are included; ``created_to`` is exclusive.
    """

    needs_review: bool | None = None
    outcome_known: bool | None = None
    overdue: bool | None = None
    provider: str | None = None
    provider_reference: str | None = None
    amount_from: int | None = None
    amount_to: int | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    def has_index_of_both(self) -> bool:
        """Return whether the filter has one of the indexes that payments and refunds both have."""
        return any((self.needs_review, self.outcome_known is False, self.overdue, self.provider_reference))

    def conditions_on(self, model: Any) -> list[ColumnElement[bool]]:
        """Return the filter as conditions of a WHERE clause on ``model``.

        Raises ``MalformedRequest`` if a range ends before it begins. Flags are constants of the statement and not parameters,
        because PostgreSQL uses a partial index only for a constant.
        """
        found = equal_filters(model, self, "needs_review", "outcome_known", "provider", "provider_reference")
        if self.overdue is not None:
            is_overdue: ColumnElement[bool] = literal_column(f"coalesce({OVERDUE}, false)")
            found.append(literal_column(f"({OVERDUE})") if self.overdue else not_(is_overdue))
            found += [_listed(model, f"due_{model.__tablename__}")] if self.overdue else []
        if self.provider_reference is not None:
            references = f"{model.__tablename__.removesuffix('s')}_references"
            found.append(_listed(model, references, provider_reference=self.provider_reference))  # and equal, as above
        if self.amount_from is not None and self.amount_to is not None and self.amount_from > self.amount_to:
            raise MalformedRequest(Detail("amount_from", "Must not be above amount_to"))
        if self.amount_from is not None:
            found.append(model.amount >= self.amount_from)
        if self.amount_to is not None:
            found.append(model.amount <= self.amount_to)
        return [*found, *in_range(model.created_at, self.created_from, self.created_to)]

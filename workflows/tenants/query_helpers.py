"""Read one row or a page of rows, and build conditions from filters.

``scope`` adds the conditions for the tenant.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Executable, Select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from workflows.errors import Detail, MalformedRequest, ResourceNotFound

Key = InstrumentedAttribute[Any]


async def one_row(
    connection: AsyncConnection, statement: Executable, parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the row that ``statement`` finds. Raises ``ResourceNotFound`` if it finds none."""
    row = (await connection.execute(statement, parameters)).mappings().one_or_none()
    if row is None:
        raise ResourceNotFound()
    return dict(row)


async def page_of(
    connection: AsyncConnection, statement: Select[Any], *, by: Key, limit: int, before: Any = None
) -> list[dict[str, Any]]:
    """Return up to ``limit`` rows of ``statement`` by descending ``by``, below ``before`` if it is given."""
    if before:
        statement = statement.where(by < before)
    found = await connection.execute(statement.order_by(by.desc()).limit(limit))
    return [dict(row) for row in found.mappings()]


def equal_filters(model: type, wanted: object, *names: str) -> list[ColumnElement[bool]]:
    """Return conditions that columns equal the attributes ``names`` of ``wanted``; ``None`` means any."""
    return [getattr(model, name) == value for name in names if (value := getattr(wanted, name)) is not None]


def in_range(column: Key, start: datetime | None, end: datetime | None) -> list[ColumnElement[bool]]:
    """Return the conditions that ``column`` is within ``[start, end)``; ``None`` means no bound.

    Raises ``MalformedRequest`` if the range ends before it begins.
    """
    if start and end and start > end:
        name = column.key.removesuffix("_at")
        raise MalformedRequest(Detail(f"{name}_from", f"Must not be after {name}_to"))
    return [*([column >= start] if start else []), *([column < end] if end else [])]

"""Read a list of many stores by the primary key, in chunks of a known number of rows.

A caller sees its own rows only, so a statement that stops after a number of rows may read the whole table to find them.
``id_before`` (migration 0036) tells where a chunk of rows begins, whoever they belong to: the chunk is then a range of ids,
and its cost is known before it is read.
"""

import operator
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.tenants.paging import Conditions

ABOVE_ALL_IDS = "zzzz"
"""Ids begin with a prefix of lower-case letters, none with a z, in any collation."""


def highest_id(bounds: Conditions) -> str:
    """Return the id below which all rows lie that meet ``bounds``, comparisons of the id with a value."""
    return min((_value(bound) for bound in bounds if _is(bound, operator.lt)), default=ABOVE_ALL_IDS)


def is_below(tested_to: str, bounds: Conditions) -> bool:
    """Return whether no row below ``tested_to`` can meet ``bounds``."""
    return any(_is(bound, operator.ge) and tested_to <= _value(bound) for bound in bounds)


async def chunk_start(connection: AsyncConnection, model: Any, bounds: Conditions, chunk: int) -> str | None:
    """Return the id at which the ``chunk`` rows below ``bounds`` begin.

    It is ``None`` if there are fewer rows. It is asked before the rows are read, because PostgreSQL does not use it as a bound
    of the index within their statement.
    """
    name = model.__tablename__
    start: str | None = (await connection.execute(select(func.id_before(name, highest_id(bounds), chunk)))).scalar()
    return start


def rows_by_key(model: Any, conditions: Conditions, start: str | None, *, limit: int) -> Select[Any]:
    """Return the statement of the rows from the id ``start`` on that meet ``conditions``, newest first."""
    above = [model.id >= start] if start else []
    return select(model.__table__).where(*conditions, *above).order_by(model.id.desc()).limit(limit)


def _is(bound: Any, compared: Any) -> bool:
    return bound.operator is compared


def _value(bound: Any) -> str:
    return str(bound.right.value)

"""The cursors of lists, and the ids between two times.

An id is a UUIDv7 and so has a time, but of another clock than ``created_at``, and of an earlier moment: a request waits for
its transaction. Whatever the clocks did, the database finds the rows whose two times differ by more than ``MARGIN``: they are
in a partial index (``apart_index``), which is empty as long as the clocks agree. ``created_bounds`` relies on ids only if no
such row lies in the range.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Index, exists, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidRequest

Conditions = list[ColumnElement[bool]]

MARGIN = timedelta(seconds=15)
"""More than a request may wait for its transaction (some 6 s) and clocks of one installation may differ together."""

PREFIXES: dict[str, tuple[str, ...]] = {
    "payments": ("pay",),
    "refunds": ("rfd",),
    "orders": ("ord",),
    "bills": ("bil",),
    "settlements": ("stl",),
    "settlement_lines": ("pay", "rfd", "adj"),
    "breaks": ("brk",),
    "merchants": ("mer",),
    "stores": ("sto",),
    "store_providers": ("spv",),
    "devices": ("dev",),
    "dead_letters": ("ddl",),
    "ledger_journals": ("jrn",),
    "ledger_accounts": ("acc",),
}
"""Table → the prefixes of the ids that are cursors of its list."""


_OF_SOME_LIST = frozenset(chain.from_iterable(PREFIXES.values()))


class PageRows(list[dict[str, Any]]):
    """The rows of a page. If the search for them ended early, ``resume_before`` is the cursor of the next page."""

    resume_before: str | None = None

    def with_rows(self, rows: Iterable[Any]) -> "PageRows":
        """Return ``rows`` instead, with the same cursor."""
        other = PageRows(rows)
        other.resume_before = self.resume_before
        return other


def check_cursor(model: Any, cursor: str | None) -> None:
    """Raise ``InvalidRequest`` if ``cursor`` is an id of another list than that of ``model``."""
    prefix = cursor.partition("_")[0] if cursor else ""
    if prefix in _OF_SOME_LIST and prefix not in PREFIXES[model.__tablename__]:
        raise InvalidRequest(Detail("cursor", "Must be the next_cursor of a page of this list"))


def apart_index(table: str) -> Index:
    """Return the index of the rows whose id and ``created_at`` are more than ``MARGIN`` apart."""
    return Index(f"{table}_apart", "created_at", postgresql_where=text(_apart(table)))


async def created_bounds(
    connection: AsyncConnection, model: Any, start: datetime | None, end: datetime | None
) -> Conditions:
    """Return conditions on the id that all rows created from ``start`` to before ``end`` meet, or none."""
    if start is None and end is None:
        return []
    inside = [*([model.created_at >= start] if start else []), *([model.created_at < end] if end else [])]
    any_apart = exists(select(model.id).where(literal_column(_apart(model.__tablename__)), *inside))
    if (await connection.execute(select(any_apart))).scalar():
        return []
    return [
        *([model.id >= _id_at(model.__tablename__, start, -MARGIN)] if start else []),
        *([model.id < _id_at(model.__tablename__, end, MARGIN)] if end else []),
    ]


def _id_at(table: str, at: datetime, margin: timedelta) -> str:
    """Return the beginning of the ids that are made ``margin`` after ``at``."""
    # A difference has no limits. The first and the last day of the calendar have no time before or after them.
    since_1970 = (at - datetime.fromtimestamp(0, UTC)) + margin
    milliseconds = max(0, int(since_1970 / timedelta(milliseconds=1)))
    return f"{PREFIXES[table][0]}_{milliseconds:012x}"


def _apart(table: str) -> str:
    """Return the predicate of the index, which the migration spells in the same way."""
    at = "(extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint"
    margin = MARGIN // timedelta(milliseconds=1)
    low, high = (f"'{PREFIXES[table][0]}_' || lpad(to_hex({at} {sign} {margin}), 12, '0')" for sign in "-+")
    return f"id < {low} OR id > {high}"

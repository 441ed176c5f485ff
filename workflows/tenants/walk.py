"""Read a page of a large table, newest first, at a cost that neither the table nor the caller's scope makes grow.

An index for each scope and each filter would make every payment dearer. Lists use those that exist anyway:

| list | how it is read |
|---|---|
| of one store, of all stores of a merchant or of a PSP | the newest rows in the index of each store, merged |
| the same of more than ``FEW_STORES`` stores | first a chunk of the primary key, which most often fills the page |
| the same, of a share of all stores, with a filter | chunks of the primary key (``key_chunks``) |
| of everything (system scope), of more than ``LARGEST_MERGE`` stores | the primary key, backwards |
| with a filter that has an index of its own (``is_selective``) | all rows that it finds, sorted |

Any other filter is tested on one chunk of rows after the other, until the page is full. A walk that takes longer than
``WALK_SECONDS`` ends with a page that has fewer rows than the caller asked for, or none; ``resume_before`` is then the cursor
with which the next page continues.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, func, literal, literal_column, select, true
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from workflows.tenants.caller import Caller, Scope
from workflows.tenants.key_chunks import chunk_start, is_below, rows_by_key
from workflows.tenants.models import Merchant, Store
from workflows.tenants.paging import Conditions, PageRows, check_cursor, created_bounds
from workflows.tenants.scope import visible_to

WALK_SECONDS = 0.03
"""After this time a walk starts no further chunk; the last one takes some 10 ms."""

FIRST_CHUNK, LARGEST_CHUNK, GROWTH = 500, 8_000, 4
"""Rows that a chunk tests: few at first, because most filters fill a page soon."""

LARGEST_MERGE = 5_000
"""Stores whose indexes are merged. For more stores the primary key is walked, a page ending with a cursor if they have few
rows: each chunk reads as many rows as it says, whoever they belong to."""

FEW_STORES = 50
"""Up to so many stores are merged at once: it takes as long as the first chunk of the primary key."""

ROWS_PER_STORE = 10
"""Rows of the primary key that are read in the time in which one store's index is searched."""

SPARE = 1.5
"""How many times as many rows are read as would fill the page if all stores had the same share of the rows."""

LARGE_SHARE = 0.1
"""The share of all stores from which on a filter is tested on the primary key: their rows are not far apart there."""

LEAST_PER_STORE = 4  # rows of each store in a chunk, so that stores without recent rows are passed quickly


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The rows of a list: those of ``model`` that ``caller`` may see and that meet ``conditions``.

    ``stores`` selects, as ``id``, the only stores whose rows can meet the conditions, if a filter names a store or a device.
    """

    model: Any
    caller: Caller
    conditions: list[ColumnElement[bool]]
    stores: Select[Any] | None = None
    is_selective: bool = False
    created: tuple[datetime | None, datetime | None] = (None, None)
    by: Literal["store_id", "merchant_id"] = "store_id"  # the first column of the index whose second one is the id

    @property
    def scope(self) -> list[ColumnElement[bool]]:
        """The conditions that the tenant adds."""
        return visible_to(self.caller, self.model.merchant_id, self.model.store_id)

    @property
    def is_one_range(self) -> bool:
        """Whether all that the caller sees is one range of an index: its own store, or everything."""
        own = Scope.STORE if self.by == "store_id" else Scope.MERCHANT
        return self.stores is None and self.caller.scope in (own, Scope.SYSTEM)

    @property
    def scope_of_owner(self) -> list[ColumnElement[bool]]:
        """The conditions on the rows of an owner.

        None for a PSP, because its owners were selected by the same rule: the look-up of each row's merchant costs more than
        the row, and PostgreSQL may sort all rows of a store after it. Row-level security checks each row nevertheless.
        """
        return self.scope if self.caller.scope is not Scope.PSP else []

    @property
    def owner(self) -> InstrumentedAttribute[Any]:
        """The column ``by``."""
        column: InstrumentedAttribute[Any] = getattr(self.model, self.by)
        return column

    def merged(self) -> Select[Any] | None:
        """Return the statement of the owners whose ranges of the index are merged; ``None`` in system scope."""
        if self.stores is not None:
            return self.stores
        if self.caller.scope is Scope.SYSTEM:
            return None
        if self.caller.scope is (Scope.STORE if self.by == "store_id" else Scope.MERCHANT):
            return only(getattr(self.caller, self.by))
        owner = Store if self.by == "store_id" else Merchant
        return select(owner.id).where(*visible_to(self.caller, Store.merchant_id if owner is Store else Merchant.id))


def stores_named(store_id: str | None, caller: Caller) -> Select[Any] | None:
    """Return the statement of the store that a filter names; it finds none that ``caller`` may not see."""
    if store_id is None:
        return None
    return select(Store.id).where(Store.id == store_id, *visible_to(caller, Store.merchant_id, Store.id))


def only(owner_id: str) -> Select[Any]:
    """Return the statement that selects ``owner_id`` and reads no table."""
    return select(literal(owner_id).label("id"))


async def read_page(connection: AsyncConnection, walk: Walk, *, limit: int, before: str | None) -> PageRows:
    """Return up to ``limit`` rows, newest first, older than the id ``before``.

    Raises ``InvalidRequest`` if ``before`` is not an id of this list.
    """
    check_cursor(walk.model, before)
    if not walk.conditions and walk.is_one_range:
        return PageRows(await _rows(connection, _range(walk, _below(walk.model, before), limit)))
    stores = walk.merged()
    bounds = [*await created_bounds(connection, walk.model, *walk.created), *_below(walk.model, before)]
    if walk.is_selective:
        return PageRows(await _rows(connection, _selected(walk, stores, bounds, limit)))
    number, share = await _use_indexes(connection, walk, stores)
    if number > LARGEST_MERGE or (number > FEW_STORES and walk.conditions and share >= LARGE_SHARE):
        return await _tested(connection, walk, None, bounds, limit=limit)
    chunk = int(SPARE * limit / share) if share else LARGEST_CHUNK
    if number > FEW_STORES and not walk.conditions and chunk <= min(LARGEST_CHUNK, number * ROWS_PER_STORE):
        start = await chunk_start(connection, walk.model, bounds, chunk)
        rows = await _rows(connection, rows_by_key(walk.model, [*walk.scope, *bounds], start, limit=limit))
        if len(rows) >= limit:
            return PageRows(rows)
    if stores is not None and not walk.conditions:
        return PageRows(await _rows(connection, _newest(walk, stores.subquery("s"), bounds, limit)))
    return await _tested(connection, walk, stores, bounds, limit=limit)


async def _use_indexes(connection: AsyncConnection, walk: Walk, stores: Select[Any] | None) -> tuple[int, float]:
    """Have rows read in the order of an index; return the number of ``stores``, and their share of all.

    The number is at most one more than ``LARGEST_MERGE``. The share is that of the last ANALYZE, 0 if there was none. A bitmap
    would read all rows of each store, to sort them for the few that are wanted.
    """
    plans = [func.set_config(f"enable_{kind}scan", "off", true()) for kind in ("bitmap", "seq")]
    if stores is None:
        await connection.execute(select(*plans))
        return 0, 1.0
    number = select(func.count()).select_from(stores.limit(LARGEST_MERGE + 1).subquery()).scalar_subquery()
    table = (Store if walk.by == "store_id" else Merchant).__tablename__
    estimate: ColumnElement[float] = literal_column(f"(SELECT reltuples FROM pg_class WHERE oid = '{table}'::regclass)")
    found = (await connection.execute(select(number.label("number"), estimate.label("estimate"), *plans))).one()
    return found.number, found.number / found.estimate if found.estimate > 0 else 0.0


async def _tested(
    connection: AsyncConnection, walk: Walk, stores: Select[Any] | None, bounds: Conditions, *, limit: int
) -> PageRows:
    """Test chunk after chunk until the page is full, no row is left or ``WALK_SECONDS`` have passed."""
    found, chunk, clock = PageRows(), FIRST_CHUNK, asyncio.get_running_loop().time
    give_up_at = clock() + WALK_SECONDS
    while True:
        if stores is None:
            conditions = [*walk.scope, *walk.conditions, *bounds]
            last = await chunk_start(connection, walk.model, bounds, chunk)
            found += await _rows(connection, rows_by_key(walk.model, conditions, last, limit=limit))
            last = None if last is None or is_below(last, bounds) else last
        else:
            rows = await _rows(
                connection, _tested_by_store(walk, stores.subquery("s"), bounds, limit=limit, chunk=chunk)
            )
            last = rows[0]["tested_to"]
            found += [_without(row, "tested_to") for row in rows if row["id"] is not None]
        if last is None or len(found) >= limit:
            break
        if clock() >= give_up_at:
            found.resume_before = last
            break
        bounds, chunk = [*bounds, walk.model.id < last], min(chunk * GROWTH, LARGEST_CHUNK)
    del found[limit:]
    return found


def _range(walk: Walk, bounds: Conditions, limit: int) -> Select[Any]:
    """Return the statement that reads a range of one index, for the most frequent and cheapest lists."""
    model = walk.model
    return select(model.__table__).where(*walk.scope, *bounds).order_by(model.id.desc()).limit(limit)


def _tested_by_store(walk: Walk, stores: Subquery, bounds: Conditions, *, limit: int, chunk: int) -> Select[Any]:
    """Return the statement that tests the newest ``depth`` rows of each store, together about ``chunk``.

    The largest of the ids at that depth is the one down to which every store is tested: rows below it wait for the next chunk.
    It is ``tested_to`` in each row, ``NULL`` if no store has more rows. Without a match there is one row without an id.
    """
    model = walk.model
    number = select(func.greatest(LEAST_PER_STORE, chunk // func.greatest(1, func.count()))).select_from(stores)
    depth = number.scalar_subquery()
    newest = (
        select(model.id, and_(true(), *walk.conditions).label("is_match"))
        .where(walk.owner == stores.c.id, *walk.scope_of_owner, *bounds)
        .order_by(model.id.desc())
        .limit(depth)
        .correlate(stores)
        .subquery("newest")
    )
    counted = select(newest, func.row_number().over().label("n")).correlate(stores).lateral("counted")
    tested = (
        select(counted.c.id, counted.c.is_match, counted.c.n)
        .select_from(stores.join(counted, true()))
        .cte("tested")
        .prefix_with("MATERIALIZED")
    )
    end = select(func.max(tested.c.id).label("id")).where(tested.c.n == depth).subquery("tested_to")
    matches = select(tested.c.id).where(tested.c.is_match, tested.c.id >= func.coalesce(end.c.id, ""))
    page = matches.order_by(tested.c.id.desc()).limit(limit).lateral("page")
    table = model.__table__
    return (
        select(end.c.id.label("tested_to"), table)
        .select_from(end.outerjoin(page, true()).outerjoin(table, table.c.id == page.c.id))
        .order_by(table.c.id.desc())
    )


def _newest(walk: Walk, stores: Subquery, bounds: Conditions, limit: int) -> Select[Any]:
    """Return the statement of the newest rows of all ``stores``.

    They are rows of the ``limit`` stores with the newest first rows, and not older than the last of these first rows.
    """
    model = walk.model
    conditions = [*walk.scope_of_owner, *bounds]
    first = (
        select(model.id)
        .where(walk.owner == stores.c.id, *conditions)
        .order_by(model.id.desc())
        .limit(1)
        .lateral("first")
    )
    firsts = (
        select(stores.c.id.label("owner"), first.c.id.label("first"))
        .select_from(stores.join(first, true()))
        .order_by(first.c.id.desc())
        .limit(limit)
        .cte("firsts")
        .prefix_with("MATERIALIZED")
    )
    floor = select(case((func.count() == limit, func.min(firsts.c.first)), else_="")).scalar_subquery()
    rows = (
        select(model.__table__)
        .where(walk.owner == firsts.c.owner, model.id >= floor, *conditions)
        .order_by(model.id.desc())
        .limit(limit)
        .lateral("newest")
    )
    return select(rows).select_from(firsts.join(rows, true())).order_by(rows.c.id.desc()).limit(limit)


def _selected(walk: Walk, stores: Select[Any] | None, bounds: Conditions, limit: int) -> Select[Any]:
    """Return the statement that finds all ids by the filter's own index, and sorts them afterwards.

    Without the materialized step PostgreSQL may walk the primary key instead, in the hope of an early match.
    """
    model = walk.model
    wanted = select(model.id).where(*walk.scope, *walk.conditions, *bounds)
    if walk.stores is not None and stores is not None:
        wanted = wanted.where(model.store_id.in_(stores))
    found = wanted.cte("found").prefix_with("MATERIALIZED")
    page = select(found.c.id).order_by(found.c.id.desc()).limit(limit).subquery("page")
    table = model.__table__
    return select(table).select_from(page.join(table, table.c.id == page.c.id)).order_by(table.c.id.desc())


def _below(model: Any, before: str | None) -> Conditions:
    return [model.id < before] if before else []


async def _rows(connection: AsyncConnection, statement: Select[Any]) -> list[dict[str, Any]]:
    found = await connection.execute(statement)
    names = list(map(str, found.keys()))  # the JSON serialiser accepts no subclass of str
    return [dict(zip(names, row, strict=True)) for row in found]


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}

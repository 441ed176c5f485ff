"""Open, change and read stores: name, currency, time zone and the cut-off at which the business day ends.

Payments keep the currency they were made in. A new time zone or cut-off applies to the periods that begin after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any, cast

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidRequest, ResourceNotFound
from workflows.ids import new_id
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.models import Merchant, Store, StoreRow
from workflows.tenants.query_helpers import one_row, page_of
from workflows.tenants.scope import visible_to

MIDNIGHT = time(0, 0)


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A store to open. ``cut_off`` is the local time at which its business day ends."""

    name: str
    currency: str = "JPY"
    time_zone: str = "Asia/Tokyo"
    cut_off: time = MIDNIGHT


STORE_FIELDS = ("id", "merchant_id", "name", "currency", "time_zone", "created_at", "updated_at")


async def open_store(request: StoreRequest, *, merchant_id: str | None, caller: Caller) -> StoreRow:
    """Open a store of a merchant and return its row.

    A merchant's admin may omit ``merchant_id``. Raises ``InvalidRequest`` if a caller above the merchants omits it, and
    ``ResourceNotFound`` if the caller sees no such merchant.
    """
    owner = _resolve_owner(merchant_id, caller)
    row = {
        "id": new_id("store"),
        "merchant_id": owner,
        "name": request.name,
        "currency": request.currency,
        "time_zone": request.time_zone,
        "cut_off": request.cut_off,
        "created_at": func.now(),  # the database's clock; the first period of the store is the business day of this time
        "updated_at": func.now(),
    }
    seen = select(Merchant.id).where(Merchant.id == owner, *visible_to(caller, Merchant.id))
    async with caller_transaction(caller) as connection:
        if (await connection.execute(seen)).scalar() is None:
            raise ResourceNotFound(Detail("merchant_id", "There is no such merchant"))
        made = await connection.execute(insert(Store).values(row).returning(*Store.__table__.columns))
        return cast(StoreRow, dict(made.mappings().one()))


async def change_store(store_id: str, changes: dict[str, Any], *, caller: Caller) -> StoreRow:
    """Set the columns in ``changes`` to new values and return the store's row.

    Raises ``ResourceNotFound``.
    """
    statement = (
        update(Store)
        .where(Store.id == store_id, *visible_to(caller, Store.merchant_id, Store.id))
        .values(**changes, updated_at=func.now())
        .returning(*Store.__table__.columns)
    )
    async with caller_transaction(caller) as connection:
        return cast(StoreRow, await one_row(connection, statement))


async def read_store(store_id: str, *, caller: Caller) -> StoreRow:
    """Return the row of a store. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        return await one_store(connection, store_id, caller)


async def list_stores(*, merchant_id: str | None, caller: Caller, limit: int, before: str | None) -> list[StoreRow]:
    """List up to ``limit`` visible stores, newest first, older than the id ``before``."""
    conditions = visible_to(caller, Store.merchant_id, Store.id)
    if merchant_id:
        conditions.append(Store.merchant_id == merchant_id)
    async with caller_transaction(caller) as connection:
        statement = select(Store.__table__).where(*conditions)
        return cast(list[StoreRow], await page_of(connection, statement, by=Store.id, limit=limit, before=before))


async def one_store(connection: AsyncConnection, store_id: str, caller: Caller) -> StoreRow:
    """Return the row of a store, read on ``connection``. Raises ``ResourceNotFound``."""
    conditions = visible_to(caller, Store.merchant_id, Store.id)
    return cast(StoreRow, await one_row(connection, select(Store.__table__).where(Store.id == store_id, *conditions)))


def store_fields(row: StoreRow) -> dict[str, Any]:
    """Return a store as the contract's fields, with the cut-off as ``HH:MM``."""
    values: Mapping[str, object] = row
    return {**{name: values[name] for name in STORE_FIELDS}, "cut_off": f"{row['cut_off']:%H:%M}"}


def _resolve_owner(merchant_id: str | None, caller: Caller) -> str:
    owner = merchant_id or caller.merchant_id
    if not owner:
        raise InvalidRequest(Detail("merchant_id", "Name the merchant"))
    if caller.scope is Scope.STORE:  # no route admits such a caller
        raise ResourceNotFound(Detail("merchant_id", "There is no such merchant"))
    return owner

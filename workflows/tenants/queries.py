"""Reading the tenants: merchants, stores, and the providers of a store, each within what the caller may see."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import ResourceNotFound
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.models import Merchant, Store, StoreProvider
from workflows.tenants.scope import within


async def read_merchant(merchant_id: str, *, caller: Caller) -> dict[str, Any]:
    """The merchant's row. Raises ``ResourceNotFound``."""
    statement = select(Merchant.__table__).where(Merchant.id == merchant_id, *within(caller, Merchant.id))
    async with caller_transaction(caller) as connection:
        return await _one(connection, statement)


async def list_merchants(*, caller: Caller, limit: int, before: str | None) -> list[dict[str, Any]]:
    """Up to ``limit`` merchants, newest first, older than the id ``before``."""
    statement = select(Merchant.__table__).where(*within(caller, Merchant.id)).order_by(Merchant.id.desc()).limit(limit)
    if before:
        statement = statement.where(Merchant.id < before)
    async with caller_transaction(caller) as connection:
        return await _many(connection, statement)


async def read_store(store_id: str, *, caller: Caller) -> dict[str, Any]:
    """The store's row. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        return await one_store(connection, store_id, caller)


async def list_stores(
    *, merchant_id: str | None, caller: Caller, limit: int, before: str | None
) -> list[dict[str, Any]]:
    """Up to ``limit`` stores, newest first, older than the id ``before``; of one merchant, or of all in sight."""
    conditions = within(caller, Store.merchant_id, Store.id)
    if merchant_id:
        conditions.append(Store.merchant_id == merchant_id)
    if before:
        conditions.append(Store.id < before)
    statement = select(Store.__table__).where(*conditions).order_by(Store.id.desc()).limit(limit)
    async with caller_transaction(caller) as connection:
        return await _many(connection, statement)


async def list_providers(store_id: str, *, caller: Caller, limit: int, before: str | None) -> list[dict[str, Any]]:
    """Up to ``limit`` providers of a store, newest first. Raises ``ResourceNotFound`` (store)."""
    statement = select(StoreProvider.__table__).where(StoreProvider.store_id == store_id)
    if before:
        statement = statement.where(StoreProvider.id < before)
    async with caller_transaction(caller) as connection:
        await one_store(connection, store_id, caller)
        return await _many(connection, statement.order_by(StoreProvider.id.desc()).limit(limit))


async def read_provider(store_id: str, provider: str, *, caller: Caller) -> dict[str, Any]:
    """One provider of a store, by its name or the row's id. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        return await one_provider(connection, store_id, provider, caller=caller)


async def one_store(connection: AsyncConnection, store_id: str, caller: Caller) -> dict[str, Any]:
    """The store's row, for use-cases that hold a transaction. Raises ``ResourceNotFound``."""
    conditions = within(caller, Store.merchant_id, Store.id)
    return await _one(connection, select(Store.__table__).where(Store.id == store_id, *conditions))


async def one_provider(connection: AsyncConnection, store_id: str, provider: str, *, caller: Caller) -> dict[str, Any]:
    """The row of a store's provider, for use-cases that hold a transaction. Raises ``ResourceNotFound``."""
    conditions = within(caller, StoreProvider.merchant_id, StoreProvider.store_id)
    by_either = (StoreProvider.provider == provider) | (StoreProvider.id == provider)
    statement = select(StoreProvider.__table__).where(StoreProvider.store_id == store_id, by_either, *conditions)
    return await _one(connection, statement)


async def _one(connection: AsyncConnection, statement: Select[Any]) -> dict[str, Any]:
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise ResourceNotFound()
    return dict(row)


async def _many(connection: AsyncConnection, statement: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in (await connection.execute(statement)).mappings()]

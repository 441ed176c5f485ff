"""Read merchants, stores, and the providers of a store, within what the caller may see."""

from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.models import Merchant, Store, StoreProvider
from workflows.tenants.query_helpers import one_row, page_of
from workflows.tenants.rows import StoreProviderRow, StoreRow
from workflows.tenants.scope import visible_to


async def read_merchant(merchant_id: str, *, caller: Caller) -> dict[str, Any]:
    """Return a merchant's row. Raises ``ResourceNotFound``."""
    statement = select(Merchant.__table__).where(Merchant.id == merchant_id, *visible_to(caller, Merchant.id))
    async with caller_transaction(caller) as connection:
        return await one_row(connection, statement)


async def list_merchants(*, caller: Caller, limit: int, before: str | None) -> list[dict[str, Any]]:
    """List up to ``limit`` merchants, newest first, older than the id ``before``."""
    async with caller_transaction(caller) as connection:
        statement = select(Merchant.__table__).where(*visible_to(caller, Merchant.id))
        return await page_of(connection, statement, by=Merchant.id, limit=limit, before=before)


async def read_store(store_id: str, *, caller: Caller) -> StoreRow:
    """Return a store's row. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        return await one_store(connection, store_id, caller)


async def list_stores(
    *, merchant_id: str | None, caller: Caller, limit: int, before: str | None
) -> list[dict[str, Any]]:
    """List up to ``limit`` visible stores, newest first, older than the id ``before``."""
    conditions = visible_to(caller, Store.merchant_id, Store.id)
    if merchant_id:
        conditions.append(Store.merchant_id == merchant_id)
    async with caller_transaction(caller) as connection:
        statement = select(Store.__table__).where(*conditions)
        return await page_of(connection, statement, by=Store.id, limit=limit, before=before)


async def list_providers(store_id: str, *, caller: Caller, limit: int, before: str | None) -> list[dict[str, Any]]:
    """List up to ``limit`` providers of a store, newest first. Raises ``ResourceNotFound`` (store)."""
    statement = select(StoreProvider.__table__).where(StoreProvider.store_id == store_id)
    async with caller_transaction(caller) as connection:
        await one_store(connection, store_id, caller)
        return await page_of(connection, statement, by=StoreProvider.id, limit=limit, before=before)


async def read_provider(store_id: str, provider: str, *, caller: Caller) -> StoreProviderRow:
    """Return a provider of a store, by its name or the row's id. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        return await one_provider(connection, store_id, provider, caller=caller)


async def one_store(connection: AsyncConnection, store_id: str, caller: Caller) -> StoreRow:
    """Return a store's row within a transaction of the caller's. Raises ``ResourceNotFound``."""
    conditions = visible_to(caller, Store.merchant_id, Store.id)
    return cast(StoreRow, await one_row(connection, select(Store.__table__).where(Store.id == store_id, *conditions)))


async def one_provider(
    connection: AsyncConnection, store_id: str, provider: str, *, caller: Caller
) -> StoreProviderRow:
    """Return the row of a store's provider within a transaction of the caller's.

    Raises ``ResourceNotFound``.
    """
    conditions = visible_to(caller, StoreProvider.merchant_id, StoreProvider.store_id)
    by_either = (StoreProvider.provider == provider) | (StoreProvider.id == provider)
    statement = select(StoreProvider.__table__).where(StoreProvider.store_id == store_id, by_either, *conditions)
    return cast(StoreProviderRow, await one_row(connection, statement))

"""Remove a provider from a store. Payments that are with it already go on with it; new ones no longer reach it."""

from sqlalchemy import delete

from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.models import StoreProvider
from workflows.tenants.queries import one_provider


async def remove_provider(store_id: str, provider: str, *, caller: Caller) -> None:
    """Delete the row, with its credentials. ``provider`` is its name or the row's id. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        found = await one_provider(connection, store_id, provider, caller=caller)
        await connection.execute(delete(StoreProvider).where(StoreProvider.id == found["id"]))

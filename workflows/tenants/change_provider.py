"""Change a store's provider: methods, order, on or off, new credentials (which replace all the old ones)."""

from typing import Any

from sqlalchemy import func, update

from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.credentials import Vault
from workflows.tenants.models import StoreProvider
from workflows.tenants.queries import one_provider


async def change_provider(
    store_id: str, provider: str, changes: dict[str, Any], *, caller: Caller, vault: Vault
) -> dict[str, Any]:
    """The row with ``changes`` made. ``provider`` is its name or the row's id. Raises ``ResourceNotFound``."""
    async with caller_transaction(caller) as connection:
        found = await one_provider(connection, store_id, provider, caller=caller)
        columns = {**changes, "updated_at": func.now()}
        if "credentials" in changes:
            columns["credentials"] = vault.seal(changes["credentials"], row_id=found["id"])
        statement = (
            update(StoreProvider)
            .where(StoreProvider.id == found["id"])
            .values(**columns)
            .returning(*StoreProvider.__table__.columns)
        )
        return dict((await connection.execute(statement)).mappings().one())

"""Add, change and remove the providers of a store: methods, priority, on or off, credentials.

Credentials are sealed (``workflows.tenants.credentials``); new ones replace all the old ones. Payments that a removed
provider already has are finished with it, but new payments no longer reach it.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, insert, update
from sqlalchemy.exc import IntegrityError

from workflows.database.engines import violated
from workflows.errors import Detail, DuplicateResource
from workflows.ids import new_id
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.credentials import Vault
from workflows.tenants.models import StoreProvider
from workflows.tenants.queries import one_provider, one_store


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A provider to add to a store. The provider with the lowest ``priority`` is tried first."""

    provider: str
    methods: list[str]
    priority: int = 1
    enabled: bool = True
    credentials: dict[str, str] = field(default_factory=dict, repr=False)


async def add_provider(store_id: str, request: ProviderRequest, *, caller: Caller, vault: Vault) -> dict[str, Any]:
    """Add a provider to a store, seal its credentials and return its row.

    Raises ``ResourceNotFound`` (store) and ``DuplicateResource`` (the store has this provider already).
    """
    row_id = new_id("store_provider")
    row: dict[str, Any] = {
        "id": row_id,
        "store_id": store_id,
        "provider": request.provider,
        "methods": request.methods,
        "priority": request.priority,
        "enabled": request.enabled,
        "credentials": vault.seal(request.credentials, row_id=row_id),
        "created_at": func.now(),
        "updated_at": func.now(),
    }
    try:
        async with caller_transaction(caller) as connection:
            row["merchant_id"] = (await one_store(connection, store_id, caller))["merchant_id"]
            added = insert(StoreProvider).values(row).returning(*StoreProvider.__table__.columns)
            return dict((await connection.execute(added)).mappings().one())
    except IntegrityError as error:
        if violated(error) != "store_providers_one_each":
            raise
        raise DuplicateResource(Detail("provider", "This store has it already; change it with PATCH")) from error


async def change_provider(
    store_id: str, provider: str, changes: dict[str, Any], *, caller: Caller, vault: Vault
) -> dict[str, Any]:
    """Set the columns in ``changes`` to new values and return the provider's row.

    ``provider`` is its name or the row's id. Raises ``ResourceNotFound``.
    """
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


async def remove_provider(store_id: str, provider: str, *, caller: Caller) -> None:
    """Delete a store's provider, with its credentials.

    ``provider`` is its name or the row's id. Raises ``ResourceNotFound``.
    """
    async with caller_transaction(caller) as connection:
        found = await one_provider(connection, store_id, provider, caller=caller)
        await connection.execute(delete(StoreProvider).where(StoreProvider.id == found["id"]))

"""Add a provider to a store: for which methods it is asked, and in which order."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, insert
from sqlalchemy.exc import IntegrityError

from workflows.database.engines import violated
from workflows.errors import Detail, DuplicateResource
from workflows.ids import new_id
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.credentials import Vault
from workflows.tenants.models import StoreProvider
from workflows.tenants.queries import one_store


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A provider for a store. The lowest ``priority`` is asked first."""

    provider: str
    methods: list[str]
    priority: int = 1
    enabled: bool = True
    credentials: dict[str, str] = field(default_factory=dict, repr=False)


async def add_provider(store_id: str, request: ProviderRequest, *, caller: Caller, vault: Vault) -> dict[str, Any]:
    """The new row, its credentials sealed. Raises ``ResourceNotFound`` (store), ``DuplicateResource`` (it has it)."""
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

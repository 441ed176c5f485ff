"""Routes of a store's providers.

``{provider}`` in a path is the provider's name or id. The name is unique, because a store has each provider only once.
"""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.dependencies import CurrentPage, EntityId, MerchantAdmin, RuntimeDep
from api.openapi.error_responses import error_responses
from api.responses import json_response, page_response
from api.schemas.store_providers import (
    StoreProviderChange,
    StoreProviderIn,
    StoreProviderOut,
    StoreProvidersOut,
)
from workflows.tenants.store_providers import (
    Vault,
    add_provider,
    change_provider,
    list_providers,
    read_provider,
    remove_provider,
    store_provider_fields,
)

router = APIRouter(prefix="/stores/{store_id}/providers", tags=["stores"])


def vault(runtime: RuntimeDep) -> Vault:
    """Return the vault that encrypts credentials.

    The vault is built per request, which costs 20 µs on rare requests.
    """
    return Vault(runtime.settings.secret_key.get_secret_value().encode())


VaultDep = Annotated[Vault, Depends(vault)]


@router.post("", status_code=201, response_model=StoreProviderOut, responses=error_responses(401, 403, 409, 422))
async def post_provider(store_id: EntityId, body: StoreProviderIn, caller: MerchantAdmin, vault: VaultDep) -> Response:
    """Add a provider to a store."""
    row = await add_provider(store_id, body.to_request(), caller=caller, vault=vault)
    return json_response(store_provider_fields(row, vault), status=201)


@router.get("", response_model=StoreProvidersOut, responses=error_responses(401, 403))
async def get_providers(store_id: EntityId, caller: MerchantAdmin, page: CurrentPage, vault: VaultDep) -> Response:
    """List the providers of a store, newest first."""
    rows = await list_providers(store_id, caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, lambda row: store_provider_fields(row, vault))


@router.get("/{provider}", response_model=StoreProviderOut, responses=error_responses(401, 403))
async def get_provider(store_id: EntityId, provider: EntityId, caller: MerchantAdmin, vault: VaultDep) -> Response:
    """Return one provider of a store."""
    return json_response(store_provider_fields(await read_provider(store_id, provider, caller=caller), vault))


@router.patch("/{provider}", response_model=StoreProviderOut, responses=error_responses(401, 403, 422))
async def patch_provider(
    store_id: EntityId, provider: EntityId, *, body: StoreProviderChange, caller: MerchantAdmin, vault: VaultDep
) -> Response:
    """Change a provider of a store. Omitted fields are not changed; credentials are replaced as a whole."""
    changes = body.model_dump(exclude_unset=True)
    row = await change_provider(store_id, provider, changes, caller=caller, vault=vault)
    return json_response(store_provider_fields(row, vault))


@router.delete("/{provider}", status_code=204, responses=error_responses(401, 403))
async def delete_provider(store_id: EntityId, provider: EntityId, caller: MerchantAdmin) -> Response:
    """Remove a provider and its credentials from a store. Payments already sent to it continue."""
    await remove_provider(store_id, provider, caller=caller)
    return Response(status_code=204)

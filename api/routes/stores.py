"""Routes of stores."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CurrentPage, EntityId, MerchantAdmin
from api.openapi.error_responses import error_responses
from api.responses import json_response, page_response
from api.schemas.base import Id
from api.schemas.stores import StoreChange, StoreIn, StoreOut, StoresOut
from workflows.tenants.stores import change_store, list_stores, open_store, read_store, store_fields

router = APIRouter(prefix="/stores", tags=["stores"])


@router.post("", status_code=201, response_model=StoreOut, responses=error_responses(401, 403, 422))
async def post_store(body: StoreIn, caller: MerchantAdmin) -> Response:
    """Open a store of your merchant."""
    row = await open_store(body.to_request(), merchant_id=body.merchant_id, caller=caller)
    return json_response(store_fields(row), status=201)


@router.get("", response_model=StoresOut, responses=error_responses(401, 403))
async def get_stores(
    caller: MerchantAdmin, page: CurrentPage, merchant_id: Annotated[Id | None, Query()] = None
) -> Response:
    """List the stores that you may see, newest first."""
    rows = await list_stores(merchant_id=merchant_id, caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, store_fields)


@router.get("/{store_id}", response_model=StoreOut, responses=error_responses(401, 403))
async def get_store(store_id: EntityId, caller: MerchantAdmin) -> Response:
    """Return one store."""
    return json_response(store_fields(await read_store(store_id, caller=caller)))


@router.patch("/{store_id}", response_model=StoreOut, responses=error_responses(401, 403, 422))
async def patch_store(store_id: EntityId, body: StoreChange, caller: MerchantAdmin) -> Response:
    """Change a store. Omitted fields are not changed."""
    return json_response(store_fields(await change_store(store_id, body.to_changes(), caller=caller)))

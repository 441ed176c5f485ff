"""Routes of merchants."""

from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import CurrentPage, EntityId, PspAdmin
from api.openapi.error_responses import error_responses
from api.responses import json_response, page_response
from api.schemas.merchants import MerchantChange, MerchantIn, MerchantOut, MerchantsOut
from workflows.tenants.merchants import (
    change_merchant,
    list_merchants,
    merchant_fields,
    read_merchant,
    register_merchant,
)

router = APIRouter(prefix="/merchants", tags=["merchants"])


@router.post("", status_code=201, response_model=MerchantOut, responses=error_responses(401, 403, 422))
async def post_merchant(body: MerchantIn, caller: PspAdmin) -> Response:
    """Register a merchant with your PSP."""
    return json_response(
        merchant_fields(await register_merchant(body.name, psp_id=body.psp_id, caller=caller)), status=201
    )


@router.get("", response_model=MerchantsOut, responses=error_responses(401, 403))
async def get_merchants(caller: PspAdmin, page: CurrentPage) -> Response:
    """List the merchants of your PSP, newest first."""
    rows = await list_merchants(caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, merchant_fields)


@router.get("/{merchant_id}", response_model=MerchantOut, responses=error_responses(401, 403))
async def get_merchant(merchant_id: EntityId, caller: PspAdmin) -> Response:
    """Return one merchant."""
    return json_response(merchant_fields(await read_merchant(merchant_id, caller=caller)))


@router.patch("/{merchant_id}", response_model=MerchantOut, responses=error_responses(401, 403, 422))
async def patch_merchant(merchant_id: EntityId, body: MerchantChange, caller: PspAdmin) -> Response:
    """Change a merchant. Omitted fields are not changed."""
    changes = body.model_dump(exclude_unset=True)
    return json_response(merchant_fields(await change_merchant(merchant_id, changes, caller=caller)))

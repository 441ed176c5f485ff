"""Routes of orders."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import AnyCaller, CurrentPage, EntityId, IdempotencyKey, RequestId, RuntimeDep
from api.fast_read import fast_get
from api.fast_route import FastRoute
from api.idempotency import KEY_PARAMETER
from api.openapi.error_responses import error_responses
from api.responses import json_response, page_response, stored_response
from api.schemas.base import ReasonedVersionIn, VersionIn
from api.schemas.orders import OrderIn, OrderOut, OrderPatch, OrdersOut
from api.schemas.query_types import Instant, Text50, Text80
from workflows.orders.change import cancel_order, change_order, complete_order, submit_order
from workflows.orders.create import Creation
from workflows.orders.queries import OrderFilter, list_orders, order_fields
from workflows.orders.states import OrderStatus
from workflows.orders.totals import TaxRounding

router = APIRouter(prefix="/orders", tags=["orders"])


async def post_order(
    *, body: OrderIn, caller: AnyCaller, key: IdempotencyKey, request_id: RequestId, runtime: RuntimeDep
) -> Response:
    """Create an order as a draft, or as an open order with `submit`.

    Repeating the key returns the same answer.
    """
    return stored_response(
        await runtime.order_intake.create_order(Creation(body.to_request(), caller, key, request_id))
    )


router.add_api_route(
    "",
    post_order,
    methods=["POST"],
    status_code=201,
    response_model=OrderOut,
    responses=error_responses(401, 403, 409, 422),
    openapi_extra=KEY_PARAMETER,
    route_class_override=FastRoute,
)


@fast_get(router, "", response_model=OrdersOut, responses=error_responses(401, 403))
async def get_orders(
    *,
    caller: AnyCaller,
    page: CurrentPage,
    status: Annotated[OrderStatus | None, Query()] = None,
    store_id: Annotated[Text80 | None, Query()] = None,
    table_number: Annotated[Text50 | None, Query()] = None,
    order_number: Annotated[Text50 | None, Query()] = None,
    created_from: Annotated[Instant | None, Query()] = None,
    created_to: Annotated[Instant | None, Query(description="Exclusive")] = None,
) -> Response:
    """List the orders that you may see, newest first."""
    wanted = OrderFilter(status, store_id, table_number, order_number, created_from, created_to)
    rows = await list_orders(wanted, caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, order_fields)


@fast_get(router, "/{order_id}", response_model=OrderOut, responses=error_responses(401, 403))
async def get_order(order_id: EntityId, caller: AnyCaller, runtime: RuntimeDep) -> Response:
    """Return one order."""
    return json_response(order_fields(await runtime.order_reads.read(order_id, caller=caller)))


@router.patch("/{order_id}", response_model=OrderOut, responses=error_responses(401, 403, 409, 422))
async def patch_order(
    *, order_id: EntityId, body: OrderPatch, caller: AnyCaller, request_id: RequestId, runtime: RuntimeDep
) -> Response:
    """Change an order while it is a draft or open and has no bill except voided ones.

    `version` is the version that you have read; it is required if `items` change. If another caller has changed the order
    meanwhile, nothing is changed, and the answer is 409 with the current version. Read the order again in that case.
    """
    rounding = TaxRounding(runtime.settings.tax_rounding)
    row = await change_order(order_id, body.to_change(), rounding=rounding, caller=caller, request_id=request_id)
    return json_response(order_fields(row))


@router.post("/{order_id}/submit", response_model=OrderOut, responses=error_responses(401, 403, 409, 422))
async def post_submit(
    order_id: EntityId, caller: AnyCaller, request_id: RequestId, body: VersionIn | None = None
) -> Response:
    """Open a draft, so that it can be billed."""
    version = body.version if body else None
    row = await submit_order(order_id, caller=caller, request_id=request_id, version=version)
    return json_response(order_fields(row))


@router.post("/{order_id}/cancel", response_model=OrderOut, responses=error_responses(401, 403, 409, 422))
async def post_cancel(
    order_id: EntityId, caller: AnyCaller, request_id: RequestId, body: ReasonedVersionIn | None = None
) -> Response:
    """Cancel an order that has no unpaid bill and whose payments are all fully refunded."""
    given = body or ReasonedVersionIn()
    row = await cancel_order(order_id, caller=caller, reason=given.reason, request_id=request_id, version=given.version)
    return json_response(order_fields(row))


@router.post("/{order_id}/complete", response_model=OrderOut, responses=error_responses(401, 403, 409, 422))
async def post_complete(
    order_id: EntityId, caller: AnyCaller, request_id: RequestId, body: VersionIn | None = None
) -> Response:
    """Complete a paid order after it was fulfilled.

    An order that was refunded in full cannot be completed.
    """
    version = body.version if body else None
    row = await complete_order(order_id, caller=caller, request_id=request_id, version=version)
    return json_response(order_fields(row))

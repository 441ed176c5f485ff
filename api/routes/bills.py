"""Routes of bills."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import AnyCaller, CurrentPage, EntityId, IdempotencyKey, Reason, RequestId, RuntimeDep
from api.fast_read import fast_get
from api.fast_route import FastRoute
from api.idempotency import KEY_PARAMETER
from api.openapi.error_responses import error_responses
from api.responses import json_response, page_response, stored_response
from api.schemas.bills import BillIn, BillOut, BillsOut, CombineIn, PartsOut, SplitIn
from api.schemas.query_types import Instant, Text50, Text80
from workflows.bills.create import bill_orders
from workflows.bills.intake import BillSubmission
from workflows.bills.queries import BillFilter, bill_fields, list_bills
from workflows.bills.states import BillStatus
from workflows.bills.void_and_split import split_bill, void_bill

router = APIRouter(prefix="/bills", tags=["bills"])


async def post_bill(
    *, body: BillIn, caller: AnyCaller, key: IdempotencyKey, request_id: RequestId, runtime: RuntimeDep
) -> Response:
    """Create a bill for the part of an order that is not billed yet.

    Repeating the key returns the same answer.
    """
    stored = await runtime.bill_intake.create_bill(BillSubmission(body.order_id, caller, key, request_id))
    return stored_response(stored)


async def post_combine(*, body: CombineIn, caller: AnyCaller, key: IdempotencyKey, request_id: RequestId) -> Response:
    """Create one bill for several orders of one store and currency."""
    stored = await bill_orders(body.order_ids, field="order_ids", caller=caller, key=key, request_id=request_id)
    return stored_response(stored)


async def post_split(
    *, bill_id: EntityId, body: SplitIn, caller: AnyCaller, key: IdempotencyKey, request_id: RequestId
) -> Response:
    """Replace an unpaid bill by parts that add up to it. The original bill is voided."""
    stored = await split_bill(bill_id, body.to_splitting(), caller=caller, key=key, request_id=request_id)
    return stored_response(stored)


for path, endpoint, model in (
    ("", post_bill, BillOut),
    ("/combine", post_combine, BillOut),
    ("/{bill_id}/split", post_split, PartsOut),
):
    router.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        status_code=201,
        response_model=model,
        responses=error_responses(401, 403, 409, 422),
        openapi_extra=KEY_PARAMETER,
        route_class_override=FastRoute,
    )


@fast_get(router, "", response_model=BillsOut, responses=error_responses(401, 403))
async def get_bills(
    *,
    caller: AnyCaller,
    page: CurrentPage,
    status: Annotated[BillStatus | None, Query()] = None,
    store_id: Annotated[Text80 | None, Query()] = None,
    order_id: Annotated[Text80 | None, Query()] = None,
    parent_bill_id: Annotated[Text80 | None, Query()] = None,
    bill_number: Annotated[Text50 | None, Query()] = None,
    created_from: Annotated[Instant | None, Query()] = None,
    created_to: Annotated[Instant | None, Query(description="Exclusive")] = None,
) -> Response:
    """List the bills that you may see, newest first."""
    wanted = BillFilter(status, store_id, order_id, parent_bill_id, bill_number, created_from, created_to)
    rows = await list_bills(wanted, caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, bill_fields)


@fast_get(router, "/{bill_id}", response_model=BillOut, responses=error_responses(401, 403))
async def get_bill(bill_id: EntityId, caller: AnyCaller, runtime: RuntimeDep) -> Response:
    """Return one bill."""
    return json_response(bill_fields(await runtime.bill_reads.read(bill_id, caller=caller)))


@router.post("/{bill_id}/void", response_model=BillOut, responses=error_responses(401, 403, 409, 422))
async def post_void(bill_id: EntityId, caller: AnyCaller, request_id: RequestId, reason: Reason) -> Response:
    """Void a bill on which nothing is paid or reserved."""
    return json_response(bill_fields(await void_bill(bill_id, caller=caller, reason=reason, request_id=request_id)))

"""Routes of refunds."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import AnyCaller, CurrentPage, EntityId, IdempotencyKey, RequestId, RuntimeDep
from api.fast_read import fast_get
from api.fast_route import FastRoute
from api.idempotency import KEY_PARAMETER
from api.openapi.error_responses import error_responses
from api.responses import json_response, page_response, stored_response
from api.schemas.payment_and_refund_queries import RefundQuery
from api.schemas.refunds import RefundIn, RefundOut, RefundsOut, ReportIn
from workflows.refunds.intake import RefundSubmission
from workflows.refunds.queries import list_refunds, list_refunds_of, refund_fields
from workflows.refunds.report_manual_refund import report_refund
from workflows.tenants.scope import with_progress

router = APIRouter(tags=["refunds"])


async def create_refund(
    *,
    payment_id: EntityId,
    body: RefundIn,
    caller: AnyCaller,
    key: IdempotencyKey,
    request_id: RequestId,
    runtime: RuntimeDep,
) -> Response:
    """Create a pending refund of at most the amount that is not refunded yet, and start processing it."""
    submission = RefundSubmission(payment_id, body.to_request(), caller, key, request_id)
    stored = await runtime.refund_intake.accept_refund(submission)
    if stored.resource_id and not stored.is_replay:
        runtime.nudger.refund(stored.resource_id, request_id=request_id)
    return stored_response(stored)


router.add_api_route(
    "/payments/{payment_id}/refund",
    create_refund,
    methods=["POST"],
    status_code=201,
    response_model=RefundOut,
    responses=error_responses(401, 403, 409, 422),
    openapi_extra=KEY_PARAMETER,
    route_class_override=FastRoute,
)


@fast_get(router, "/payments/{payment_id}/refunds", response_model=RefundsOut, responses=error_responses(401, 403))
async def get_refunds_of_payment(payment_id: EntityId, caller: AnyCaller, page: CurrentPage) -> Response:
    """List the refunds of one payment, newest first."""
    rows = await list_refunds_of(payment_id, caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, with_progress(caller, refund_fields))


@fast_get(router, "/refunds", response_model=RefundsOut, responses=error_responses(401, 403))
async def get_refunds(caller: AnyCaller, page: CurrentPage, wanted: Annotated[RefundQuery, Query()]) -> Response:
    """List the refunds that you may see, newest first."""
    rows = await list_refunds(wanted.to_filter(), caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, with_progress(caller, refund_fields))


@router.post("/refunds/{refund_id}/report", response_model=RefundOut, responses=error_responses(401, 403, 409, 422))
async def post_report(
    *, refund_id: EntityId, body: ReportIn, caller: AnyCaller, request_id: RequestId, runtime: RuntimeDep
) -> Response:
    """Report whether the money of a refund with `needs_action` was returned at the till.

    A worker records the report: `approved` completes the refund, `declined` makes it fail. Sending the same report again
    changes nothing; a different report is refused.
    """
    row = await report_refund(refund_id, body.to_report(), caller=caller, request_id=request_id)
    runtime.nudger.refund(refund_id, request_id=request_id)
    return json_response(refund_fields(row))


@fast_get(router, "/refunds/{refund_id}", response_model=RefundOut, responses=error_responses(401, 403))
async def get_refund(refund_id: EntityId, caller: AnyCaller, runtime: RuntimeDep) -> Response:
    """Return one refund."""
    row = await runtime.refund_reads.read(refund_id, caller=caller)
    return json_response(with_progress(caller, refund_fields)(row))

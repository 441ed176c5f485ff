"""Refunds over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import AnyCaller, CurrentPage, EntityId, IdempotencyKey, OurRuntime, RequestId
from api.fast_route import HotRoute
from api.idempotency import DOCUMENTED
from api.openapi.error_responses import problems
from api.responses import json_answer, page_answer, stored_answer
from api.schemas.money_queries import RefundQuery
from api.schemas.refunds import RefundIn, RefundOut, RefundsOut, ReportIn
from workflows.refunds.queries import list_refunds, list_refunds_of, read_refund
from workflows.refunds.report import report_refund
from workflows.refunds.request import request_refund
from workflows.refunds.serialize import refund_fields
from workflows.tenants.progress import shown_to

router = APIRouter(tags=["refunds"])


async def create_refund(
    *,
    payment_id: EntityId,
    body: RefundIn,
    caller: AnyCaller,
    key: IdempotencyKey,
    request_id: RequestId,
    ours: OurRuntime,
) -> Response:
    """Record a pending refund and start it on its way: only of what is left, and asynchronous like a payment."""
    stored = await request_refund(
        payment_id,
        body.to_request(),
        caller=caller,
        key=key,
        request_id=request_id,
        grace_seconds=ours.settings.nudge_grace_seconds,
    )
    if stored.resource_id and not stored.is_replay:
        ours.nudger.refund(stored.resource_id, request_id=request_id)
    return stored_answer(stored)


router.add_api_route(
    "/payments/{payment_id}/refund",
    create_refund,
    methods=["POST"],
    status_code=201,
    response_model=RefundOut,
    responses=problems(401, 403, 409, 422),
    openapi_extra=DOCUMENTED,
    route_class_override=HotRoute,
)


@router.get("/payments/{payment_id}/refunds", response_model=RefundsOut, responses=problems(401, 403))
async def get_refunds_of_payment(payment_id: EntityId, caller: AnyCaller, page: CurrentPage) -> Response:
    """The refunds of one payment, newest first."""
    rows = await list_refunds_of(payment_id, caller=caller, limit=page.limit + 1, before=page.before)
    return page_answer(rows, page, shown_to(caller, refund_fields))


@router.get("/refunds", response_model=RefundsOut, responses=problems(401, 403))
async def get_refunds(caller: AnyCaller, page: CurrentPage, wanted: Annotated[RefundQuery, Query()]) -> Response:
    """The refunds you may see, newest first."""
    rows = await list_refunds(wanted.to_filter(), caller=caller, limit=page.limit + 1, before=page.before)
    return page_answer(rows, page, shown_to(caller, refund_fields))


@router.post("/refunds/{refund_id}/report", response_model=RefundOut, responses=problems(401, 403, 409, 422))
async def post_report(
    *, refund_id: EntityId, body: ReportIn, caller: AnyCaller, request_id: RequestId, ours: OurRuntime
) -> Response:
    """Report whether the money of a refund with `needs_action` was given back at the till.

    A worker records it: `approved` completes the refund, `declined` fails it. The same report again changes nothing; a
    different one is refused.
    """
    row = await report_refund(refund_id, body.to_report(), caller=caller, request_id=request_id)
    ours.nudger.refund(refund_id, request_id=request_id)
    return json_answer(refund_fields(row))


@router.get("/refunds/{refund_id}", response_model=RefundOut, responses=problems(401, 403))
async def get_refund(refund_id: EntityId, caller: AnyCaller) -> Response:
    """One refund."""
    return json_answer(shown_to(caller, refund_fields)(await read_refund(refund_id, caller=caller)))

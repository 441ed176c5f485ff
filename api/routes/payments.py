"""Routes of payments."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import AnyCaller, CurrentPage, EntityId, IdempotencyKey, RequestId, RuntimeDep
from api.fast_read import fast_get
from api.fast_route import FastRoute
from api.idempotency import KEY_PARAMETER
from api.openapi.error_responses import error_responses
from api.responses import DOCUMENTED_STREAM, EventStream, json_response, page_response, payment_events, stored_response
from api.schemas.payment_and_refund_queries import PaymentQuery
from api.schemas.payments import CancelIn, PaymentIn, PaymentOut, PaymentsOut
from api.schemas.query_types import Seconds, WholeNumber
from api.schemas.timeline import EventsOut
from workflows.payments.await_changes import await_payment, follow_payment
from workflows.payments.cancel import cancel_payment
from workflows.payments.check_request import PaymentSubmission
from workflows.payments.queries import list_payments, payment_fields
from workflows.refunds.workload import PAYMENTS
from workflows.tenants.scope import with_progress
from workflows.timeline import read_whole_timeline

router = APIRouter(prefix="/payments", tags=["payments"])

LONGEST_STREAM_SECONDS = 600  # longer than any payment takes, except one in doubt


async def create_payment(
    *, body: PaymentIn, caller: AnyCaller, key: IdempotencyKey, request_id: RequestId, runtime: RuntimeDep
) -> Response:
    """Create a pending payment and start processing it. Repeating the key returns the same answer."""
    submission = PaymentSubmission(body.to_request(), caller, key, request_id)
    stored = await runtime.payment_intake.accept_payment(submission)
    if stored.resource_id and not stored.is_replay:
        runtime.nudger.payment(stored.resource_id, request_id=request_id)
    return stored_response(stored)


# ``FastRoute`` reads the declared parameters once, when the application is created, and computes the arguments itself.
router.add_api_route(
    "",
    create_payment,
    methods=["POST"],
    status_code=201,
    response_model=PaymentOut,
    responses=error_responses(401, 403, 409, 422),
    openapi_extra=KEY_PARAMETER,
    route_class_override=FastRoute,
)


@fast_get(router, "", response_model=PaymentsOut, responses=error_responses(401, 403))
async def get_payments(
    caller: AnyCaller, page: CurrentPage, wanted: Annotated[PaymentQuery, Query()], runtime: RuntimeDep
) -> Response:
    """List the payments that you may see, newest first.

    A terminal that lost its 201 finds its payment by `client_reference`.
    """
    rows = await list_payments(
        wanted.to_filter(), caller=caller, limit=page.limit + 1, before=page.before, pages=runtime.payment_pages
    )
    return page_response(rows, page, with_progress(caller, payment_fields))


@fast_get(router, "/{payment_id}", response_model=PaymentOut, responses=error_responses(401, 403))
async def get_payment(
    *,
    payment_id: EntityId,
    caller: AnyCaller,
    runtime: RuntimeDep,
    wait: Annotated[Seconds, Query(ge=0, le=60, description="Seconds to wait for a newer version, at most 25")] = 0,
    since_version: Annotated[WholeNumber | None, Query(ge=0, le=2**31 - 1, description="The version you know")] = None,
) -> Response:
    """Return one payment. With `wait`, return it as soon as its version is newer than `since_version`."""
    if wait:
        seconds = min(wait, runtime.settings.max_wait_seconds)
        row = await await_payment(
            payment_id, caller=caller, watch=runtime.change_listener, wait_seconds=seconds, since_version=since_version
        )
    else:
        row = await runtime.payment_reads.read(payment_id, caller=caller)
    return json_response(with_progress(caller, payment_fields)(row))


@fast_get(
    router,
    "/{payment_id}/stream",
    status_code=200,
    response_class=EventStream,
    responses={200: DOCUMENTED_STREAM, **error_responses(401, 403)},
)
async def stream_payment(payment_id: EntityId, caller: AnyCaller, runtime: RuntimeDep) -> Response:
    """Stream one payment as server-sent events: its current version and each newer one, until it is final."""
    rows = follow_payment(
        payment_id, caller=caller, watch=runtime.change_listener, longest_seconds=LONGEST_STREAM_SECONDS
    )
    # The first row is read before the answer begins, so that a missing payment is a 404 rather than an empty stream.
    first = await anext(rows)
    return EventStream(payment_events(first, rows, with_progress(caller, payment_fields)))


@router.get("/{payment_id}/events", response_model=EventsOut, responses=error_responses(401, 403))
async def get_events(payment_id: EntityId, caller: AnyCaller) -> Response:
    """List the events of a payment, oldest first."""
    return json_response({"data": await read_whole_timeline(payment_id, caller=caller)})


@router.post("/{payment_id}/cancel", response_model=PaymentOut, responses=error_responses(401, 403, 409, 422))
async def post_cancel(
    *, payment_id: EntityId, caller: AnyCaller, runtime: RuntimeDep, request_id: RequestId, body: CancelIn | None = None
) -> Response:
    """Cancel a payment: at once while it is pending, through the provider while it is processing.

    For cash and for a sale that the terminal's own application approved, the money has moved already. Such a payment is
    `completed` with `cancel_outcome: too_late`. With `on_too_late: refund`, a refund is created that a person must carry out.
    """
    row = await cancel_payment(
        payment_id,
        caller=caller,
        reason=body.reason if body else None,
        on_too_late=body.on_too_late if body else None,
        request_id=request_id,
        payments=PAYMENTS,
    )
    if row["status"] == "processing":
        runtime.nudger.payment(payment_id, request_id=request_id)
    return json_response(payment_fields(row))

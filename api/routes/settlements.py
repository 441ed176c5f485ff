"""Routes of settlements."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from api.dependencies import CurrentPage, EntityId, MerchantAdmin, RequestId, StoreManager
from api.media_types import CSV
from api.openapi.error_responses import error_responses
from api.responses import file_response, json_response, page_response, prefers_csv
from api.schemas.base import Id, NothingIn
from api.schemas.query_types import Day, Flag
from api.schemas.settlements import (
    CashCountIn,
    LinesOut,
    OverrideIn,
    OverrideOut,
    PoliciesOut,
    PolicyIn,
    PolicyOut,
    SettlementOut,
    SettlementsOut,
)
from workflows.reconciliation.statement_policy import list_policies, policy_fields, set_policy
from workflows.reports.export import export_lines_csv
from workflows.settlements.close import close_manually
from workflows.settlements.count_cash import count_cash
from workflows.settlements.override import override_day
from workflows.settlements.queries import (
    SettlementFilter,
    line_fields,
    list_lines,
    list_settlements,
    override_fields,
    read_settlement,
    settlement_fields,
)
from workflows.settlements.states import SettlementStatus

router = APIRouter(tags=["settlements"])

AS_TABLE: dict[str, Any] = {"content": {CSV: {"schema": {"type": "string"}}}}


@router.get("/settlements", response_model=SettlementsOut, responses=error_responses(401, 403))
async def get_settlements(
    *,
    caller: StoreManager,
    page: CurrentPage,
    store_id: Annotated[Id | None, Query()] = None,
    status: Annotated[SettlementStatus | None, Query()] = None,
    business_date: Annotated[Day | None, Query(alias="date", description="The business day")] = None,
    needs_acceptance: Annotated[
        Flag | None, Query(description="Only settlements that wait until a person accepts that lines were not compared")
    ] = None,
) -> Response:
    """List the settlements that you may see, newest first."""
    wanted = SettlementFilter(store_id, status, business_date, needs_acceptance)
    rows = await list_settlements(wanted, caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, settlement_fields)


@router.get("/settlements/{settlement_id}", response_model=SettlementOut, responses=error_responses(401, 403))
async def get_settlement(settlement_id: EntityId, caller: StoreManager) -> Response:
    """Return one settlement.

    An open settlement shows the figures that it would have if it were closed now.
    """
    return json_response(settlement_fields(await read_settlement(settlement_id, caller=caller)))


@router.get(
    "/settlements/{settlement_id}/lines",
    response_model=LinesOut,
    responses={
        200: {"description": "A page of lines, or all of them as a table", **AS_TABLE},
        **error_responses(401, 403),
    },
)
async def get_lines(
    settlement_id: EntityId,
    caller: StoreManager,
    page: CurrentPage,
    accept: Annotated[str, Header(description="`text/csv` brings all lines as a file instead of a page")] = "",
) -> Response:
    """List the lines of a settlement. An open settlement has only corrections so far."""
    if prefers_csv(accept):
        pieces = export_lines_csv(settlement_id, caller=caller)
        return await file_response(pieces, media_type=CSV, name=f"{settlement_id}-lines.csv")
    rows = await list_lines(settlement_id, caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, line_fields)


@router.post(
    "/settlements/{settlement_id}/close", response_model=SettlementOut, responses=error_responses(401, 403, 409, 422)
)
async def post_close(
    settlement_id: EntityId, caller: StoreManager, request_id: RequestId, _body: NothingIn | None = None
) -> Response:
    """Close a settlement now. Later lines go into the next settlement, which starts immediately."""
    await close_manually(settlement_id, caller=caller, request_id=request_id)
    return json_response(settlement_fields(await read_settlement(settlement_id, caller=caller)))


@router.post(
    "/settlements/{settlement_id}/cash-count",
    response_model=SettlementOut,
    responses=error_responses(401, 403, 409, 422),
)
async def post_cash_count(
    settlement_id: EntityId, body: CashCountIn, caller: StoreManager, request_id: RequestId
) -> Response:
    """Record the cash that was counted in the drawer for a closed settlement.

    Repeat the request to correct the count, until the settlement is reconciled.
    """
    row = await count_cash(
        settlement_id, cash_actual=body.cash_actual, note=body.note, caller=caller, request_id=request_id
    )
    return json_response(settlement_fields(row))


@router.put(
    "/stores/{store_id}/statement-policies",
    response_model=PolicyOut,
    responses=error_responses(401, 403, 422),
)
async def put_policy(store_id: EntityId, body: PolicyIn, caller: MerchantAdmin) -> Response:
    """Set whether a provider sends statements for a store. If it sends none, no settlement waits for them."""
    return json_response(policy_fields(await set_policy(store_id, body.to_request(), caller=caller)))


@router.get("/stores/{store_id}/statement-policies", response_model=PoliciesOut, responses=error_responses(401, 403))
async def get_policies(store_id: EntityId, caller: MerchantAdmin) -> Response:
    """Return the store's statement policies with author and date, newest first."""
    return json_response({"data": [policy_fields(row) for row in await list_policies(store_id, caller=caller)]})


@router.post(
    "/stores/{store_id}/settlement-overrides",
    status_code=201,
    response_model=OverrideOut,
    responses=error_responses(401, 403, 422),
)
async def post_override(store_id: EntityId, body: OverrideIn, caller: StoreManager) -> Response:
    """Change the end of one business day. A second override of the same day replaces the first."""
    row = await override_day(store_id, body.to_request(), caller=caller)
    return json_response(override_fields(row), status=201)

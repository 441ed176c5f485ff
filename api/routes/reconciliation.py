"""Routes of statements and reconciliation."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.dependencies import CurrentPage, EntityId, MerchantAdmin, RequestId, RuntimeDep, StoreManager
from api.idempotency import KEY_PARAMETER
from api.openapi.error_responses import error_responses
from api.responses import json_response, page_response, stored_response
from api.schemas.query_types import Flag
from api.schemas.statements import (
    AssignIn,
    BreakOut,
    BreaksOut,
    NewRunOut,
    ReconcileIn,
    ResolveIn,
    RunsOut,
    StatementOut,
    StatementsOut,
)
from api.uploads import DOCUMENTED_BODY, DOCUMENTED_QUERY, receive_upload
from workflows.reconciliation.classify import Category
from workflows.reconciliation.queries import (
    BreakFilter,
    break_fields,
    list_breaks,
    list_runs,
    list_statements,
    statement_fields,
)
from workflows.reconciliation.reconcile import reconcile_settlement, run_fields
from workflows.reconciliation.resolve_break import assign_break, resolve_break
from workflows.reconciliation.resolve_unknown_outcomes import resolve_unknown_outcomes
from workflows.reconciliation.statements.fetch import fetch_result_fields, fetch_statements
from workflows.reconciliation.statements.store_file import receive_statement
from workflows.tenants.actor import Actor

router = APIRouter(tags=["reconciliation"])


@router.post(
    "/settlements/{settlement_id}/statements",
    status_code=201,
    response_model=StatementOut,
    responses=error_responses(401, 403, 409, 422),
    openapi_extra={
        "requestBody": DOCUMENTED_BODY,
        "parameters": [
            *KEY_PARAMETER["parameters"],
            *DOCUMENTED_QUERY,
        ],
    },
)
async def post_statement(
    *, settlement_id: EntityId, request: Request, caller: StoreManager, request_id: RequestId, runtime: RuntimeDep
) -> Response:
    """Store a provider's statement, or refuse it as a whole and name each invalid line.

    Uploading the same file again changes nothing.
    """
    secret = runtime.settings.secret_key.get_secret_value().encode()
    async with receive_upload(request, settlement_id, secret=secret) as (incoming, key):
        stored = await receive_statement(incoming, actor=Actor(caller, request_id=request_id), key=key)
    return stored_response(stored)


@router.get(
    "/settlements/{settlement_id}/statements", response_model=StatementsOut, responses=error_responses(401, 403)
)
async def get_statements(settlement_id: EntityId, caller: StoreManager) -> Response:
    """List the statements of a settlement, newest first. Only the newest of each provider is compared."""
    rows = await list_statements(settlement_id, caller=caller)
    return json_response({"data": [statement_fields(row) for row in rows]})


@router.post(
    "/settlements/{settlement_id}/reconcile", response_model=NewRunOut, responses=error_responses(401, 403, 409, 422)
)
async def post_reconcile(
    *,
    settlement_id: EntityId,
    caller: StoreManager,
    request_id: RequestId,
    runtime: RuntimeDep,
    body: ReconcileIn | None = None,
) -> Response:
    """Compare a settlement with the providers' statements now.

    Statements that were not uploaded are fetched first. Lines for which there is no statement are listed as `uncompared`. The
    day is signed off without them only with `accept_uncompared` and a note.
    """
    acceptance = body.to_acceptance() if body else None
    actor = Actor(caller, request_id=request_id)
    fetched = await fetch_statements(settlement_id, actor=actor, providers=runtime.providers)
    await resolve_unknown_outcomes(settlement_id, actor=actor)
    silent = [one.provider for one in fetched if one.error]
    run = await reconcile_settlement(
        settlement_id, actor=actor, settings=runtime.settings, silent=silent, acceptance=acceptance
    )
    return json_response({**run, "fetched": [fetch_result_fields(one) for one in fetched]})


@router.get("/settlements/{settlement_id}/runs", response_model=RunsOut, responses=error_responses(401, 403))
async def get_runs(settlement_id: EntityId, caller: StoreManager) -> Response:
    """List the runs of a settlement, newest first."""
    return json_response({"data": [run_fields(run) for run in await list_runs(settlement_id, caller=caller)]})


@router.get("/settlements/{settlement_id}/breaks", response_model=BreaksOut, responses=error_responses(401, 403))
async def get_breaks(
    *,
    settlement_id: EntityId,
    caller: StoreManager,
    page: CurrentPage,
    category: Annotated[Category | None, Query()] = None,
    is_open: Annotated[Flag | None, Query(alias="open", description="Only open ones, or only resolved ones")] = None,
) -> Response:
    """List the breaks of the last run: everything that is neither matched nor expected."""
    wanted = BreakFilter(category, is_open)
    rows = await list_breaks(settlement_id, wanted, caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, break_fields)


@router.post("/breaks/{break_id}/resolve", response_model=BreakOut, responses=error_responses(401, 403, 409, 422))
async def post_resolve(break_id: EntityId, body: ResolveIn, caller: MerchantAdmin, request_id: RequestId) -> Response:
    """Resolve a break. When the last break of a settlement is resolved, the settlement is reconciled."""
    actor = Actor(caller, request_id=request_id)
    return json_response(break_fields(await resolve_break(break_id, body.to_request(), actor=actor)))


@router.post("/breaks/{break_id}/assign", response_model=BreakOut, responses=error_responses(401, 403, 422))
async def post_assign(break_id: EntityId, body: AssignIn, caller: MerchantAdmin) -> Response:
    """Assign a break to a person."""
    return json_response(break_fields(await assign_break(break_id, body.owner, caller=caller)))

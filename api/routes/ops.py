"""Routes of operator actions: the maintenance switch, dead letters and the result of the invariants.

All of them require a system operator. Actions are idempotent and are recorded with the operator's name.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CurrentPage, EntityId, RequestId, SystemOperator
from api.openapi.error_responses import error_responses
from api.responses import json_response, page_response
from api.schemas.base import NothingIn
from api.schemas.ops import (
    CloseIn,
    DeadLetterOut,
    DeadLettersOut,
    InvariantsOut,
    MaintenanceIn,
    MaintenanceOut,
    RequeuedOut,
)
from api.schemas.query_types import Flag
from workers.nudge import publish_task
from workflows.database.engines import Role
from workflows.invariants.scheduled import read_results
from workflows.ops.dead_letters import close_dead_letter, list_dead_letters, requeue_dead_letter
from workflows.ops.maintenance import Maintenance, set_maintenance

router = APIRouter(prefix="/ops", tags=["operations"])


@router.put("/maintenance", response_model=MaintenanceOut, responses=error_responses(401, 403, 422))
async def put_maintenance(body: MaintenanceIn, caller: SystemOperator) -> Response:
    """Switch maintenance on or off.

    During maintenance, all requests except `/ops`, `/health` and `/metrics` are refused with 503 and your message.
    """
    await set_maintenance(Maintenance(body.enabled, body.message), caller=caller)
    return json_response({"enabled": body.enabled, "message": body.message})


@router.get("/dead-letters", response_model=DeadLettersOut, responses=error_responses(401, 403))
async def get_dead_letters(
    caller: SystemOperator,
    page: CurrentPage,
    is_open: Annotated[
        Flag | None, Query(alias="open", description="`true`: neither requeued nor closed; `false`: requeued or closed")
    ] = None,
) -> Response:
    """List the dead letters, newest first."""
    rows = await list_dead_letters(caller=caller, limit=page.limit + 1, before=page.before, is_open=is_open)
    return page_response(rows, page, dict)


@router.get("/invariants", response_model=InvariantsOut, responses=error_responses(401, 403))
async def get_invariants(_caller: SystemOperator) -> Response:
    """Return the last result of the scheduled check of the invariants for each rule.

    The check runs once an hour with a short time limit. A rule whose check did not finish in time shows its previous result.
    `mpac invariants` checks everything.
    """
    rules = await read_results(Role.ACCEPT)
    finished = [rule["finished_at"] for rule in rules]
    is_known = bool(rules) and all(finished)
    return json_response(
        {
            "checked_at": min(finished) if is_known else None,
            "clean": not any(rule["violations"] for rule in rules) if is_known else None,
            "rules": rules,
        }
    )


@router.post(
    "/dead-letters/{letter_id}/close", response_model=DeadLetterOut, responses=error_responses(401, 403, 409, 422)
)
async def post_close(letter_id: EntityId, body: CloseIn, caller: SystemOperator) -> Response:
    """Close a dead letter that must not be retried.

    Repeating the request with the same reason returns the same answer.
    """
    return json_response(await close_dead_letter(letter_id, reason=body.reason, caller=caller))


@router.post(
    "/dead-letters/{letter_id}/requeue", response_model=RequeuedOut, responses=error_responses(401, 403, 409, 422)
)
async def post_requeue(
    letter_id: EntityId, caller: SystemOperator, request_id: RequestId, _body: NothingIn | None = None
) -> Response:
    """Retry a dead letter after its cause was fixed.

    If the provider may know the operation already, an inquiry is sent first.
    """
    requeued = await requeue_dead_letter(letter_id, publish=publish_task, caller=caller, request_id=request_id)
    return json_response({"task": requeued.task, "arguments": requeued.arguments})

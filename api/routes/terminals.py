"""Routes of terminals, by which a manager registers and manages the devices of a store."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CurrentPage, EntityId, Reason, RequestId, StoreManager
from api.openapi.error_responses import error_responses
from api.responses import json_response, page_response
from api.schemas.base import Id
from api.schemas.terminals import TerminalIn, TerminalOut, TerminalsOut
from workflows.devices.change_status import deactivate_device, resume_device, suspend_device
from workflows.devices.queries import device_fields, list_devices, read_device
from workflows.devices.register import register_device
from workflows.devices.states import DeviceStatus

router = APIRouter(prefix="/terminals", tags=["terminals"])


@router.post("", status_code=201, response_model=TerminalOut, responses=error_responses(401, 403, 409, 422))
async def post_terminal(body: TerminalIn, caller: StoreManager, request_id: RequestId) -> Response:
    """Register a terminal. It is `pending_activation` until it is activated with a code."""
    row = await register_device(body.to_request(), caller=caller, request_id=request_id)
    return json_response(device_fields(row), status=201)


@router.get("", response_model=TerminalsOut, responses=error_responses(401, 403))
async def get_terminals(
    caller: StoreManager,
    page: CurrentPage,
    store_id: Annotated[Id | None, Query()] = None,
    status: Annotated[DeviceStatus | None, Query()] = None,
) -> Response:
    """List the terminals that you may see, newest first."""
    rows = await list_devices(store_id=store_id, status=status, caller=caller, limit=page.limit + 1, before=page.before)
    return page_response(rows, page, device_fields)


@router.get("/{device_id}", response_model=TerminalOut, responses=error_responses(401, 403))
async def get_terminal(device_id: EntityId, caller: StoreManager) -> Response:
    """Return one terminal."""
    return json_response(device_fields(await read_device(device_id, caller=caller)))


@router.post("/{device_id}/suspend", response_model=TerminalOut, responses=error_responses(401, 403, 409, 422))
async def post_suspend(device_id: EntityId, caller: StoreManager, request_id: RequestId, reason: Reason) -> Response:
    """Suspend an active terminal. Its requests are refused from now on."""
    row = await suspend_device(device_id, caller=caller, reason=reason, request_id=request_id)
    return json_response(device_fields(row))


@router.post("/{device_id}/resume", response_model=TerminalOut, responses=error_responses(401, 403, 409, 422))
async def post_resume(device_id: EntityId, caller: StoreManager, request_id: RequestId, reason: Reason) -> Response:
    """Resume a suspended terminal."""
    row = await resume_device(device_id, caller=caller, reason=reason, request_id=request_id)
    return json_response(device_fields(row))


@router.post("/{device_id}/deactivate", response_model=TerminalOut, responses=error_responses(401, 403, 409, 422))
async def post_deactivate(device_id: EntityId, caller: StoreManager, request_id: RequestId, reason: Reason) -> Response:
    """Deactivate a terminal permanently."""
    row = await deactivate_device(device_id, caller=caller, reason=reason, request_id=request_id)
    return json_response(device_fields(row))

"""Routes of provisioning, by which a registered terminal becomes active."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.dependencies import RequestId, RuntimeDep, StoreManager, count_failed_auth
from api.openapi.error_responses import error_responses
from api.responses import json_response
from api.schemas.base import Id
from api.schemas.terminals import ActivatedOut, ActivateIn, ActivationStatusOut, CodeIn, CodeOut
from workflows.devices.activation import activate_device, generate_code
from workflows.devices.queries import read_device
from workflows.errors import NotAuthenticated

router = APIRouter(prefix="/device/provision", tags=["terminals"])


@router.post(
    "/generateActivationCode", status_code=201, response_model=CodeOut, responses=error_responses(401, 403, 409, 422)
)
async def post_code(body: CodeIn, caller: StoreManager, runtime: RuntimeDep, request_id: RequestId) -> Response:
    """Create an activation code for a terminal.

    The code is shown only in this answer and replaces any earlier code. A terminal that has lost its key can be activated
    again with a new code. Its old key becomes invalid when the code is used.
    """
    secret = runtime.settings.secret_key.get_secret_value().encode()
    fresh = await generate_code(body.device_id, caller=caller, secret=secret, request_id=request_id)
    return json_response({"activation_code": fresh.code, "expires_at": fresh.expires_at}, status=201)


@router.post("/activate", response_model=ActivatedOut, responses=error_responses(401, 409, 422))
async def post_activate(body: ActivateIn, request: Request, runtime: RuntimeDep, request_id: RequestId) -> Response:
    """Activate a terminal with its code.

    A wrong code and a wrong serial number are answered with the same 401. Until the code expires, the same code, serial number
    and key get the same answer. A terminal that already had a key keeps its status; its old key and all tokens issued for that
    key become invalid.
    """
    runtime.failed_auth_limit.check(request.scope)  # checking a code takes a transaction
    try:
        row = await activate_device(
            code=body.activation_code,
            serial_number=body.serial_number,
            public_key_pem=body.public_key_pem,
            secret=runtime.settings.secret_key.get_secret_value().encode(),
            request_id=request_id,
        )
    except NotAuthenticated as error:
        count_failed_auth(request, error)
        raise
    return json_response({"device_id": row["id"], "client_id": row["client_id"], "status": row["status"]})


@router.get("/activationStatus", response_model=ActivationStatusOut, responses=error_responses(401, 403))
async def get_status(caller: StoreManager, device_id: Annotated[Id, Query()]) -> Response:
    """Return the activation status of a terminal."""
    row = await read_device(device_id, caller=caller)
    return json_response({"device_id": row["id"], "status": row["status"]})

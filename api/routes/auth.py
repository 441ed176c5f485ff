"""The route that issues access tokens to devices. Users get theirs from the login system."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from api.dependencies import RuntimeDep, count_failed_auth
from api.openapi.error_responses import error_responses
from api.responses import json_response
from api.schemas.auth import TokenForm, TokenOut
from workflows.errors import NotAuthenticated

router = APIRouter(prefix="/auth", tags=["terminals"])


@router.post("/device/token", response_model=TokenOut, responses=error_responses(401, 403, 422))
async def post_device_token(form: Annotated[TokenForm, Form()], request: Request, runtime: RuntimeDep) -> Response:
    """Issue an access token to an active device (OAuth 2 client credentials, `private_key_jwt`, ES256)."""
    try:
        issued = await runtime.token_issuer.issue_device_token(form.client_assertion)
    except NotAuthenticated as error:
        count_failed_auth(request, error)
        raise
    answer = json_response(
        {"access_token": issued.token, "token_type": "Bearer", "expires_in": issued.expires_in_seconds}
    )
    answer.headers["Cache-Control"] = "no-store"  # RFC 6749 §5.1
    return answer

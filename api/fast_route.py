"""The hot route: requests that come by the thousand, served without FastAPI's dependency machinery.

FastAPI resolves a tree of dependencies, two exit stacks and a form for each request; for a payment that was two fifths of
the API's processor time. A route of this class is declared like any other, documented like any other and does the same
in the same order, but its arguments are filled in by hand.

Every POST with an idempotency key and a JSON body is such a route, because its key needs the validated body: two requests
are the same if they mean the same (``api.canonical_body``).
"""

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from api.canonical_body import canonical_form, canonical_form_of_invalid
from api.dependencies import authenticate
from api.idempotency import key_of, key_value
from api.query_checks import check_query
from api.request_checks import check_content_type
from api.runtime import runtime_of
from api.schemas.patterns import ID_PATTERN
from api.strict_json import read_json
from workflows.errors import DomainError
from workflows.ids import WELL_FORMED
from workflows.requests.idempotency import Key

NEEDED = {"body", "caller", "key"}
ARGUMENTS = NEEDED | {"request_id", "runtime"}
"""What the endpoint of a hot route takes, beside the ids in its path, and nothing else."""


class FastRoute(APIRoute):
    """A POST with a JSON body, a caller and an idempotency key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Called once, by FastAPI. Raises ``TypeError`` for an endpoint that wants anything but ``ARGUMENTS``."""
        parameters = inspect.signature(self.endpoint).parameters
        wanted, ids = set(parameters), set(self.param_convertors)
        if not NEEDED | ids <= wanted <= ARGUMENTS | ids:
            raise TypeError(f"{self.endpoint.__name__} may take {', '.join(sorted(ARGUMENTS | ids))} and nothing else")
        model: type[BaseModel] = parameters["body"].annotation
        endpoint = self.endpoint
        takes_runtime, takes_request_id = "runtime" in wanted, "request_id" in wanted

        async def handle(request: Request) -> Response:
            for check in (check_content_type, check_query):
                await check(request)
            arguments: dict[str, Any] = _ids(request) if ids else {}
            arguments["caller"] = await authenticate(request)
            value = key_value(request)
            arguments["body"], arguments["key"] = _read(request, model, await request.body(), value)
            if takes_request_id:
                arguments["request_id"] = request.state.request_id
            if takes_runtime:
                arguments["runtime"] = runtime_of(request)
            answer: Response = await endpoint(**arguments)
            return answer

        return handle


def _ids(request: Request) -> dict[str, Any]:
    """Return the ids in the path. Raises the same error as FastAPI, with the same text."""
    ids = dict(request.path_params)
    for name, value in ids.items():
        if not WELL_FORMED.fullmatch(value):
            wrong = {"type": "string_pattern_mismatch", "loc": ("path", name), "ctx": {"pattern": ID_PATTERN}}
            raise RequestValidationError([wrong])
    return ids


def _read(request: Request, model: type[BaseModel], raw: bytes, key: str) -> tuple[BaseModel, Key]:
    """``raw`` as a ``model``, and the key of the request. Raises the errors that FastAPI would, in its words.

    The request's state has the key even if the body is not valid, so that a 422 is stored as its answer.
    """
    secret = runtime_of(request).settings.secret_key.get_secret_value().encode()
    if not raw:
        request.state.key = key_of(request, key, body=raw, secret=secret)
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}])
    value = read_json(raw)
    try:
        body = model.model_validate(value)
    except (ValidationError, DomainError) as error:
        request.state.key = key_of(request, key, body=raw, secret=secret, meaning=canonical_form_of_invalid(value, raw))
        if isinstance(error, DomainError):
            raise
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**entry, "loc": ("body", *entry["loc"])} for entry in found]) from error
    meaning, currency = canonical_form(body, request.state.caller)
    made = request.state.key = key_of(request, key, body=raw, secret=secret, meaning=meaning, currency=currency)
    return body, made

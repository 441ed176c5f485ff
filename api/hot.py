"""The hot route: requests that come by the thousand, served without FastAPI's dependency machinery.

FastAPI resolves a tree of dependencies, two exit stacks and a form for each request; for a payment that was two fifths of
the API's processor time. A route of this class is declared like any other, documented like any other and does the same
in the same order, but its five arguments are filled in by hand.
"""

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from api.dependencies import authenticate, take_key
from api.every_route import EVERY_ROUTE
from api.reading import read_json
from api.runtime import runtime

ARGUMENTS = {"body", "caller", "key", "request_id", "ours"}
"""What the endpoint of a hot route takes, and nothing else."""


class HotRoute(APIRoute):
    """A POST with a JSON body, a caller and an idempotency key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Called once, by FastAPI. Raises ``TypeError`` for an endpoint that wants anything but ``ARGUMENTS``."""
        parameters = inspect.signature(self.endpoint).parameters
        if set(parameters) != ARGUMENTS:
            raise TypeError(f"{self.endpoint.__name__} must take exactly {', '.join(sorted(ARGUMENTS))}")
        model: type[BaseModel] = parameters["body"].annotation
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            for check in EVERY_ROUTE:
                await check(request)
            caller = await authenticate(request)
            key = await take_key(request)
            answer: Response = await endpoint(
                body=_validated(model, await request.body()),
                caller=caller,
                key=key,
                request_id=request.state.request_id,
                ours=runtime(request),
            )
            return answer

        return handle


def _validated(model: type[BaseModel], raw: bytes) -> BaseModel:
    """``raw`` as a ``model``. Raises the errors that FastAPI would, in its words."""
    if not raw:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}])
    value = read_json(raw)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**entry, "loc": ("body", *entry["loc"])} for entry in found]) from error

"""Serve requests that come by the thousand without FastAPI's dependency machinery.

FastAPI resolves a tree of dependencies, two exit stacks and a form for each request; for a payment that was two fifths of
the API's processor time. A fast route is declared and documented like any other. When the application is made, its declared
dependencies are read once and turned into a ``Plan``; each request then follows the plan.

| declared dependency                         | on a fast route                                                        |
|---------------------------------------------|------------------------------------------------------------------------|
| an async check that takes only the request  | run, in the declared order                                             |
| ``check_body_names``                        | done while the body is decoded                                         |
| caller, key, request id, runtime            | the argument of that name, in the order of ``handle`` below            |
| any other, and any query or header parameter| refused when the application is made                                   |

Every POST with an idempotency key and a JSON body is such a route, because its key needs the validated body: two requests
are the same if they mean the same (``api.canonical_body``).
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from api.canonical_body import canonical_form, canonical_form_of_invalid
from api.dependencies import authenticate, current_runtime, idempotency_key, known_caller, request_id
from api.idempotency import key_of, key_value
from api.request_checks import check_body_names
from api.runtime import runtime_of
from api.schemas.patterns import ID_PATTERN
from api.strict_json import read_json
from workflows.errors import DomainError
from workflows.ids import WELL_FORMED
from workflows.requests.idempotency import Key

Check = Callable[[Request], Awaitable[None]]

ARGUMENTS = frozenset({known_caller, idempotency_key, request_id, current_runtime})
"""Dependencies whose values a fast route fills in by itself."""


class Plan(NamedTuple):
    """The steps of a fast route: the checks to run, and the arguments of its endpoint to fill in."""

    checks: tuple[Check, ...]
    has_ids: bool
    model: type[BaseModel]
    body: str
    caller: str
    key: str
    request_id: str | None
    runtime: str | None


class FastRoute(APIRoute):
    """A POST with a JSON body, a caller and an idempotency key."""

    plan: Plan
    """Set by ``install_fast_routes``, which knows the dependencies of the application, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler. Raises ``TypeError`` for an endpoint that needs more than a fast route does."""
        plan_of(self.dependant, self.endpoint)
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            checks, has_ids, model, body, caller, key, request_id, runtime = self.plan
            for check in checks:
                await check(request)
            arguments: dict[str, Any] = _ids(request) if has_ids else {}
            arguments[caller] = await authenticate(request)
            value = key_value(request)
            arguments[body], arguments[key] = _read(request, model, await request.body(), value)
            if request_id:
                arguments[request_id] = request.state.request_id
            if runtime:
                arguments[runtime] = runtime_of(request)
            answer: Response = await endpoint(**arguments)
            return answer

        return handle


def install_fast_routes(app: FastAPI) -> None:
    """Make the plan of every fast route of ``app``. Call it after the last route was added.

    Raises ``TypeError`` for a dependency that a fast route would not run, wherever it was added: at the endpoint, the route,
    the router or the application.
    """
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, FastRoute):
            route.plan = plan_of(context.dependant, route.endpoint)


def plan_of(dependant: Dependant, endpoint: Callable[..., Any]) -> Plan:
    """Return the plan of an endpoint. Raises ``TypeError`` for what a fast route does not do."""
    if others := [*dependant.query_params, *dependant.header_params, *dependant.cookie_params]:
        raise _refused(endpoint, f"the parameter {others[0].name}")
    body, model = _body_of(dependant, endpoint)
    named = {each.call: each.name for each in dependant.dependencies if each.name}
    unnamed = [each for each in dependant.dependencies if not each.name and each.call is not check_body_names]
    if unknown := [name for call, name in named.items() if call not in ARGUMENTS]:
        raise _refused(endpoint, f"the dependency {unknown[0]}")
    if not {known_caller, idempotency_key} <= set(named):
        raise TypeError(f"{endpoint.__name__} must take a caller and an idempotency key, or not be a fast route")
    filled = {*named.values(), body, *(field.name for field in dependant.path_params)}
    if missing := set(inspect.signature(endpoint).parameters) - filled:
        raise _refused(endpoint, f"the parameter {min(missing)}")
    return Plan(
        checks=tuple(_as_check(each, endpoint) for each in unnamed),
        has_ids=bool(dependant.path_params),
        model=model,
        body=body,
        caller=named[known_caller],
        key=named[idempotency_key],
        request_id=named.get(request_id),
        runtime=named.get(current_runtime),
    )


def _body_of(dependant: Dependant, endpoint: Callable[..., Any]) -> tuple[str, type[BaseModel]]:
    bodies = [(field.name, field.field_info.annotation) for field in dependant.body_params]
    if len(bodies) == 1:
        name, model = bodies[0]
        if inspect.isclass(model) and issubclass(model, BaseModel):
            return name, model
    raise _refused(endpoint, "a body other than one model")


def _as_check(dependency: Dependant, endpoint: Callable[..., Any]) -> Check:
    """Return a dependency of a route, a router or the application as a check that is run as it is."""
    call = dependency.call
    name = getattr(call, "__name__", repr(call))
    parameters = [] if call is None else list(inspect.signature(call).parameters)
    if call is None or parameters != [dependency.request_param_name] or not inspect.iscoroutinefunction(call):
        raise _refused(endpoint, f"the dependency {name}: it must be async and take the request alone")
    return call


def _refused(endpoint: Callable[..., Any], what: str) -> TypeError:
    return TypeError(f"{endpoint.__name__} is a fast route, which cannot run {what}")


def _ids(request: Request) -> dict[str, Any]:
    """Return the ids in the path. Raises the same error as FastAPI, with the same text."""
    ids = dict(request.path_params)
    for name, value in ids.items():
        if not WELL_FORMED.fullmatch(value):
            wrong = {"type": "string_pattern_mismatch", "loc": ("path", name), "ctx": {"pattern": ID_PATTERN}}
            raise RequestValidationError([wrong])
    return ids


def _read(request: Request, model: type[BaseModel], raw: bytes, key: str) -> tuple[BaseModel, Key]:
    """Return ``raw`` as a ``model``, and the key of the request.

    Raises the errors that FastAPI would, with the same text.

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

"""Serve high-volume requests without FastAPI's dependency machinery.

FastAPI resolves a tree of dependencies, two exit stacks and a form for each request, which took 40 % of the API's CPU time for
a payment. A fast route is declared and documented like any other route. When the application is created, the declared
dependencies are read once and turned into a ``Plan``, and ``handle`` follows the plan for each request.

| declared                                                         | on a fast route                              |
|------------------------------------------------------------------|----------------------------------------------|
| an async check that takes only the request                       | runs, in the declared order                  |
| ``check_body_names``                                             | is part of decoding the body                 |
| ``AnyCaller``, ``IdempotencyKey``, ``RequestId``, ``RuntimeDep`` | ``handle`` computes the argument             |
| ``EntityId`` in the path, one model as the body                  | ``handle`` validates the argument            |
| any other parameter or dependency                                | ``TypeError`` when the application is created |

A fast route therefore accepts callers of any role: ``StoreManager`` and the other dependencies that require a role are
refused. Use an ordinary route for them.

Every POST with an idempotency key and a JSON body is a fast route, because the key is derived from the validated body, so that
two spellings of the same request are equal (``api.canonical_body``).
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
from api.dependencies import authenticate, current_caller, current_runtime, idempotency_key
from api.dependencies import request_id as current_request_id
from api.idempotency import key_of, key_value
from api.request_checks import check_body_names
from api.runtime import runtime_of
from api.schemas.patterns import ID_PATTERN
from api.strict_json import read_json
from workflows.errors import DomainError
from workflows.ids import WELL_FORMED
from workflows.requests.idempotency import Key

Check = Callable[[Request], Awaitable[None]]

SUPPORTED = frozenset({current_caller, idempotency_key, current_request_id, current_runtime})
"""The dependencies whose values ``handle`` computes."""


class Plan(NamedTuple):
    """The steps of a fast route, and the names of the endpoint's parameters to which ``handle`` passes its values."""

    checks: tuple[Check, ...]
    has_path_ids: bool
    model: type[BaseModel]
    body_parameter: str
    caller_parameter: str
    key_parameter: str
    request_id_parameter: str | None
    """``None`` if the endpoint does not take the request id."""
    runtime_parameter: str | None
    """``None`` if the endpoint does not take the runtime."""


class FastRoute(APIRoute):
    """A POST route with a JSON body, a caller of any role and an idempotency key."""

    plan: Plan
    """Set by ``install_fast_routes``. Until then, every request raises ``AttributeError``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that serves the route's requests."""
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            plan = self.plan
            for check in plan.checks:
                await check(request)
            arguments: dict[str, Any] = _path_ids(request) if plan.has_path_ids else {}
            # Before the key is checked: an unknown caller must not learn whether a key is valid.
            arguments[plan.caller_parameter] = await authenticate(request)
            header = key_value(request)
            body, key = _body_and_key(request, plan.model, await request.body(), header)
            arguments[plan.body_parameter] = body
            arguments[plan.key_parameter] = key
            if plan.request_id_parameter:
                arguments[plan.request_id_parameter] = request.state.request_id
            if plan.runtime_parameter:
                arguments[plan.runtime_parameter] = runtime_of(request)
            response: Response = await endpoint(**arguments)
            return response

        return handle


def install_fast_routes(app: FastAPI) -> None:
    """Make the plan of every fast route of ``app``. Call it after the last route was added.

    Only then are the dependencies of the application and of its routers known. Raises ``TypeError`` for a parameter or
    dependency that a fast route does not support, wherever it was declared.
    """
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, FastRoute):
            route.plan = plan_of(context.dependant, route.endpoint)


def plan_of(dependant: Dependant, endpoint: Callable[..., Any]) -> Plan:
    """Return the plan of an endpoint.

    Raises ``TypeError`` if the endpoint declares something that a fast route does not support.
    """
    if unread := [*dependant.query_params, *dependant.header_params, *dependant.cookie_params]:
        raise _unsupported_error(endpoint, f"the parameter {unread[0].name!r}")
    for field in dependant.path_params:
        if ID_PATTERN not in [getattr(constraint, "pattern", None) for constraint in field.field_info.metadata]:
            raise _unsupported_error(endpoint, f"the path parameter {field.name!r}, which is not an EntityId")
    body_parameter, model = _body_of(dependant, endpoint)
    # FastAPI names a dependency after the endpoint's parameter. Those of a route, a router or the application have no name.
    parameters = {dependency.call: dependency.name for dependency in dependant.dependencies if dependency.name}
    checks = [each for each in dependant.dependencies if not each.name and each.call is not check_body_names]
    if unsupported := [name for call, name in parameters.items() if call not in SUPPORTED]:
        raise _unsupported_error(
            endpoint,
            f"the dependency of {unsupported[0]!r}; it supports AnyCaller (it cannot require a role), IdempotencyKey, "
            "RequestId and RuntimeDep",
        )
    if not {current_caller, idempotency_key} <= set(parameters):
        raise TypeError(f"{endpoint.__name__} must take a caller and an idempotency key, or not be a fast route")
    passed = {*parameters.values(), body_parameter, *(field.name for field in dependant.path_params)}
    if missing := set(inspect.signature(endpoint).parameters) - passed:
        raise _unsupported_error(endpoint, f"the parameter {min(missing)!r}")
    return Plan(
        checks=tuple(as_check(dependency, endpoint) for dependency in checks),
        has_path_ids=bool(dependant.path_params),
        model=model,
        body_parameter=body_parameter,
        caller_parameter=parameters[current_caller],
        key_parameter=parameters[idempotency_key],
        request_id_parameter=parameters.get(current_request_id),
        runtime_parameter=parameters.get(current_runtime),
    )


def _body_of(dependant: Dependant, endpoint: Callable[..., Any]) -> tuple[str, type[BaseModel]]:
    """Return the name of the endpoint's body parameter, and its model."""
    bodies = [(field.name, field.field_info.annotation) for field in dependant.body_params]
    if len(bodies) == 1:
        name, model = bodies[0]
        if inspect.isclass(model) and issubclass(model, BaseModel):
            return name, model
    raise _unsupported_error(endpoint, "a body that is not exactly one model")


def as_check(dependency: Dependant, endpoint: Callable[..., Any]) -> Check:
    """Return the function of a dependency that the route, a router or the application declares.

    Raises ``TypeError`` unless ``await check(request)`` is all that FastAPI would do with it.
    """
    call = dependency.call
    name = getattr(call, "__name__", repr(call))
    parameters = [] if call is None else list(inspect.signature(call).parameters)
    if call is None or parameters != [dependency.request_param_name] or not inspect.iscoroutinefunction(call):
        raise _unsupported_error(
            endpoint, f"the dependency {name!r}, which is not an async function of the request alone"
        )
    return call


def _unsupported_error(endpoint: Callable[..., Any], what: str) -> TypeError:
    return TypeError(f"{endpoint.__name__} is a fast route, which does not support {what}")


def _path_ids(request: Request) -> dict[str, Any]:
    """Return the ids in the path. Raises ``RequestValidationError`` for a value that cannot be an id."""
    ids = dict(request.path_params)
    for name, value in ids.items():
        if not WELL_FORMED.fullmatch(value):
            finding = {"type": "string_pattern_mismatch", "loc": ("path", name), "ctx": {"pattern": ID_PATTERN}}
            raise RequestValidationError([finding])
    return ids


def _body_and_key(request: Request, model: type[BaseModel], raw: bytes, header: str) -> tuple[BaseModel, Key]:
    """Validate the body and derive the idempotency key from it; return both.

    Stores the key in the request's state even if the body fails validation, so that the 422 is stored as its answer.
    Malformed JSON (400) is not stored. Errors are those that an ordinary route would raise (compared by ``test_fast_route``).
    """
    secret = runtime_of(request).settings.secret_key.get_secret_value().encode()
    if not raw:
        request.state.key = key_of(request, header, body=raw, secret=secret)
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}])
    payload = read_json(raw)
    try:
        body = model.model_validate(payload)
    except (ValidationError, DomainError) as error:
        meaning = canonical_form_of_invalid(payload, raw)
        request.state.key = key_of(request, header, body=raw, secret=secret, meaning=meaning)
        if isinstance(error, DomainError):
            raise
        findings = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**finding, "loc": ("body", *finding["loc"])} for finding in findings]) from error
    meaning, currency = canonical_form(body, request.state.caller)
    key = request.state.key = key_of(request, header, body=raw, secret=secret, meaning=meaning, currency=currency)
    return body, key

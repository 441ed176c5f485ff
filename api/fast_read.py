"""Serve high-volume GET requests without FastAPI's dependency machinery, as ``api.fast_route`` serves POST requests.

A GET of a row by its id costs the database 15 µs and FastAPI 300. A fast read is declared and documented like any other
route. When the application is created, the declared dependencies are read once and turned into a ``ReadPlan``:

| declared                                            | on a fast read                                           |
|-----------------------------------------------------|----------------------------------------------------------|
| an async check that takes only the request          | runs, in the declared order                              |
| ``AnyCaller``, ``RuntimeDep``                       | ``handle`` computes the argument                         |
| parameters of path and query                        | FastAPI's own function validates them                    |
| a dependency whose parameters are all of the query  | the same, then it is called                              |
| any other parameter or dependency                   | ``TypeError`` when the application is created            |

Values in the query are validated only if the request has a query; otherwise the defaults apply, which are computed once. A
caller that is not authenticated gets 401 whatever its query is, as on an ordinary route.
"""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.datastructures import QueryParams
from starlette.responses import Response

from api.dependencies import authenticate, current_caller, current_runtime
from api.fast_route import Check, as_check
from api.runtime import runtime_of
from workflows.ids import WELL_FORMED

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

COMPUTED = frozenset({current_caller, current_runtime})
"""The dependencies whose values ``handle`` computes."""

NO_QUERY = QueryParams()


class QueryArguments(NamedTuple):
    """Arguments that come from the query: their declarations, and their values if the request has no query."""

    fields: list[Any]
    defaults: dict[str, Any] | None
    """``None`` if a parameter is required."""

    def read(self, request: Request, errors: list[Any]) -> dict[str, Any]:
        """Return the arguments by name, and append what is wrong with them to ``errors``."""
        if self.defaults is not None and not request.scope["query_string"]:
            return self.defaults
        values, found = request_params_to_args(self.fields, request.query_params)
        errors.extend(found)
        return values


class QueryDependency(NamedTuple):
    """A dependency that takes only parameters of the query, and the endpoint's parameter to which its value is passed."""

    parameter: str
    call: Callable[..., Coroutine[Any, Any, Any]]
    arguments: QueryArguments


class ReadPlan(NamedTuple):
    """The steps of a fast read, and the names of the endpoint's parameters to which ``handle`` passes its values."""

    checks: tuple[Check, ...]
    caller_parameter: str
    runtime_parameter: str | None
    """``None`` if the endpoint does not take the runtime."""
    dependencies: tuple[QueryDependency, ...]
    path_fields: list[Any]
    query: QueryArguments


class FastRead(APIRoute):
    """A GET route for a caller of any role."""

    plan: ReadPlan
    """Set by ``install_fast_reads``. Until then, every request raises ``AttributeError``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that serves the route's requests."""
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            plan = self.plan
            for check in plan.checks:
                await check(request)
            caller = await authenticate(request)
            arguments = await _arguments(plan, request)
            arguments[plan.caller_parameter] = caller
            if plan.runtime_parameter:
                arguments[plan.runtime_parameter] = runtime_of(request)
            response: Response = await endpoint(**arguments)
            return response

        return handle


def fast_get(router: APIRouter, path: str, **options: Any) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that adds an endpoint to ``router`` as a fast read.

    ``options`` are those of ``router.get``.
    """

    def add(endpoint: Endpoint) -> Endpoint:
        router.add_api_route(path, endpoint, methods=["GET"], route_class_override=FastRead, **options)
        return endpoint

    return add


async def _arguments(plan: ReadPlan, request: Request) -> dict[str, Any]:
    """Return the arguments from path and query.

    Raises ``RequestValidationError`` with all that is wrong with them.
    """
    errors: list[Any] = []
    read = [(each, each.arguments.read(request, errors)) for each in plan.dependencies]
    arguments = _path_ids(plan, request.path_params, errors)
    arguments.update(plan.query.read(request, errors))
    if errors:
        raise RequestValidationError(errors)
    for dependency, values in read:
        arguments[dependency.parameter] = await dependency.call(**values)
    return arguments


def _path_ids(plan: ReadPlan, given: Mapping[str, str], errors: list[Any]) -> dict[str, Any]:
    if all(map(WELL_FORMED.fullmatch, given.values())):
        return dict(given)
    values, found = request_params_to_args(plan.path_fields, given)
    errors.extend(found)
    return values


def install_fast_reads(app: FastAPI) -> None:
    """Make the plan of every fast read of ``app``. Call it after the last route was added.

    Raises ``TypeError`` for a parameter or dependency that a fast read does not support, wherever it was declared.
    """
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, FastRead):
            route.plan = read_plan_of(context.dependant, route.endpoint)


def read_plan_of(dependant: Dependant, endpoint: Callable[..., Any]) -> ReadPlan:
    """Return the plan of an endpoint.

    Raises ``TypeError`` if the endpoint declares something that a fast read does not support.
    """
    if unread := [*dependant.header_params, *dependant.cookie_params, *dependant.body_params]:
        raise _unsupported_error(endpoint, f"the parameter {unread[0].name!r}")
    named = [each for each in dependant.dependencies if each.name]
    computed = {each.call: each.name for each in named if each.call in COMPUTED}
    dependencies = tuple(_query_dependency(each, endpoint) for each in named if each.call not in COMPUTED)
    if current_caller not in computed:
        raise TypeError(f"{endpoint.__name__} must take a caller, or not be a fast read")
    passed = {*computed.values(), *(each.parameter for each in dependencies)}
    passed |= {field.name for field in (*dependant.path_params, *dependant.query_params)}
    if missing := set(inspect.signature(endpoint).parameters) - passed:
        raise _unsupported_error(endpoint, f"the parameter {min(missing)!r}")
    return ReadPlan(
        checks=tuple(as_check(each, endpoint) for each in dependant.dependencies if not each.name),
        caller_parameter=str(computed[current_caller]),
        runtime_parameter=computed.get(current_runtime),
        dependencies=dependencies,
        path_fields=dependant.path_params,
        query=_query_arguments(dependant),
    )


def _query_dependency(dependency: Dependant, endpoint: Callable[..., Any]) -> QueryDependency:
    call = dependency.call
    names = {field.name for field in dependency.query_params}
    if (
        call is None
        or dependency.dependencies
        or not inspect.iscoroutinefunction(call)
        or names != set(inspect.signature(call).parameters)
    ):
        raise _unsupported_error(
            endpoint,
            f"the dependency of {dependency.name!r}; it supports AnyCaller (it cannot require a role), RuntimeDep and async "
            "functions of parameters of the query",
        )
    return QueryDependency(str(dependency.name), call, _query_arguments(dependency))


def _query_arguments(dependant: Dependant) -> QueryArguments:
    values, errors = request_params_to_args(dependant.query_params, NO_QUERY)
    return QueryArguments(dependant.query_params, None if errors else values)


def _unsupported_error(endpoint: Callable[..., Any], what: str) -> TypeError:
    return TypeError(f"{endpoint.__name__} is a fast read, which does not support {what}")

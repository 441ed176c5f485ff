"""Serve the hottest routes before the framework's layers.

Starlette and FastAPI pass each request through five middlewares, the search for its route, and two exit stacks. For a payment
that took 50 to 80 µs, as much as everything that this service itself does with the request. ``Application`` therefore looks a
request's method and path up in a dictionary first, and serves fast routes and fast reads at once:

| layer of the framework | on a hot route                                                                                     |
|------------------------|----------------------------------------------------------------------------------------------------|
| ``RequestMiddleware``  | the same class, with the same limits                                                               |
| exception handlers     | the same handlers, found by the class of the exception                                             |
| search for the route   | one look-up, or three with an id in the path; any other method or path is left to the framework    |
| exit stacks, telemetry | none, because a fast route has no dependency with ``yield`` and no telemetry is configured         |
| limit of the body      | none, because ``RequestMiddleware`` limits it                                                      |

``tests/integration/api/test_hot_routes.py`` sends each request both ways and compares the answers.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.fast_read import FastRead
from api.fast_route import FastRoute

Handle = Callable[[Request], Awaitable[Response]]

_ONE_ID = re.compile(r"(?P<before>[^{}]*)/\{(?P<name>\w+)\}/?(?P<after>[^{}/]*)")
"""A path with one id, at the end or before the last part."""


class Application(FastAPI):
    """The application, which serves hot routes itself and leaves all other requests to FastAPI."""

    hot_routes: Mapping[tuple[str, str], ASGIApp]
    """Method and path of a hot route without an id in its path → what serves it. Empty until ``install_hot_routes``."""
    hot_routes_with_id: Mapping[tuple[str, str, str], tuple[str, ASGIApp]]
    """Method and path before and after the id → the name of the id's parameter, and what serves the route."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hot_routes, self.hot_routes_with_id = {}, {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the server."""
        is_plain = scope["type"] == "http" and not scope.get("root_path")  # which the framework strips from the path
        hot = self._find_hot(scope) if is_plain else None
        if hot is None:
            await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            await hot(scope, receive, send)

    def _find_hot(self, scope: Scope) -> ASGIApp | None:
        """Return what serves a hot request, whose path parameters are then in ``scope``, or ``None``."""
        method, path = scope["method"], scope["path"]
        if serve := self.hot_routes.get((method, path)):
            scope["path_params"] = {}
            return serve
        before, _, last = path.rpartition("/")
        identifier, found = last, self.hot_routes_with_id.get((method, before, ""))
        if found is None and last:  # else the path ends with a slash, which no route does
            before, _, identifier = before.rpartition("/")
            found = self.hot_routes_with_id.get((method, before, last))
        if found is None or not identifier:
            return None
        scope["path_params"] = {found[0]: identifier}
        return found[1]


def install_hot_routes(app: Application, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
    """Serve every fast route and fast read directly, within the middleware that ``wrap`` adds.

    Call it after ``install_fast_routes`` and ``install_fast_reads``. Raises ``TypeError`` if a path of another route could be
    taken for one with an id.
    """
    exact: dict[tuple[str, str], ASGIApp] = {}
    with_id: dict[tuple[str, str, str], tuple[str, ASGIApp]] = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, FastRoute | FastRead):
            serve = wrap(_server_of(app, route))
            for method in route.methods or ():
                if found := _ONE_ID.fullmatch(str(context.path)):
                    with_id[method, found["before"], found["after"]] = found["name"], serve
                elif "{" not in str(context.path):
                    exact[method, str(context.path)] = serve
    _check_other_routes(app, with_id)
    app.hot_routes, app.hot_routes_with_id = exact, with_id


def _check_other_routes(app: Application, with_id: Mapping[tuple[str, str, str], Any]) -> None:
    """Raise ``TypeError`` if the path of an ordinary route looks like that of a hot route with an id."""
    for context in iter_route_contexts(app.routes):
        path, methods = str(getattr(context, "path", "")), getattr(context.original_route, "methods", None) or ()
        before, _, last = path.rpartition("/")
        shapes = ((before, ""), (before.rpartition("/")[0], last))
        if isinstance(context.original_route, FastRoute | FastRead) or "{" in path:
            continue
        if any((method, *shape) in with_id for method in methods for shape in shapes):
            raise TypeError(f"A part of {path} would be taken for the id of a hot route")


def _server_of(app: Application, route: FastRoute | FastRead) -> ASGIApp:
    handle: Handle = route.get_route_handler()

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"], scope["endpoint"] = route, route.endpoint
        request = Request(scope, receive, send)
        try:
            response = await handle(request)
        except Exception as error:
            response = await _answer_to(app, request, error)
        await response(scope, receive, send)

    return serve


async def _answer_to(app: Application, request: Request, error: Exception) -> Response:
    """Return the response of the handler for ``error``. Raises ``error`` if no handler is registered."""
    for kind in type(error).__mro__:
        if handler := app.exception_handlers.get(kind):
            response: Any = handler(request, error)
            return cast(Response, await response)  # the handlers of ``api.errors`` are asynchronous
    raise error

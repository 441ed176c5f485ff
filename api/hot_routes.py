"""Serve the hottest routes before the framework's layers.

Starlette and FastAPI pass each request through five middlewares, the search for its route, and two exit stacks. For a payment
that took 50 to 80 µs, as much as everything that this service itself does with the request. ``Application`` therefore looks a
request's method and path up in a dictionary first, and serves a fast route without path parameters at once:

| layer of the framework | on a hot route                                                                                     |
|------------------------|----------------------------------------------------------------------------------------------------|
| ``RequestMiddleware``  | the same class, with the same limits                                                               |
| exception handlers     | the same handlers, found by the class of the exception                                             |
| search for the route   | one look-up; a request with any other method or path is left to the framework                      |
| exit stacks, telemetry | none, because a fast route has no dependency with ``yield`` and no telemetry is configured         |
| limit of the body      | none, because ``RequestMiddleware`` limits it                                                      |

``tests/integration/api/test_hot_routes.py`` sends each request both ways and compares the answers.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.fast_route import FastRoute

Handle = Callable[[Request], Awaitable[Response]]


class Application(FastAPI):
    """The application, which serves hot routes itself and leaves all other requests to FastAPI."""

    hot_routes: Mapping[tuple[str, str], ASGIApp]
    """Method and path of a hot route → what serves it. Empty until ``install_hot_routes``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hot_routes = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the server."""
        hot = self.hot_routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if hot is None or scope.get("root_path"):  # below a root path, the framework strips it from the path
            await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            await hot(scope, receive, send)


def install_hot_routes(app: Application, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
    """Serve every fast route without path parameters directly, within the middleware that ``wrap`` adds.

    Call it after ``install_fast_routes``.
    """
    found: dict[tuple[str, str], ASGIApp] = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, FastRoute) and not route.plan.has_path_ids:
            serve = wrap(_server_of(app, route))
            found.update({(method, str(context.path)): serve for method in route.methods or ()})
    app.hot_routes = found


def _server_of(app: Application, route: FastRoute) -> ASGIApp:
    handle: Handle = route.get_route_handler()

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"], scope["endpoint"], scope["path_params"] = route, route.endpoint, {}
        request = Request(scope, receive, send)
        try:
            response = await handle(request)
        except Exception as error:
            response = await _answer_to(app, request, error)
        await response(scope, receive, send)

    return serve


async def _answer_to(app: Application, request: Request, error: Exception) -> Response:
    """Return the response of the handler that is registered for ``error``. Raises ``error`` if there is none."""
    for kind in type(error).__mro__:
        if handler := app.exception_handlers.get(kind):
            response: Any = handler(request, error)
            return cast(Response, await response)  # the handlers of ``api.errors`` are asynchronous
    raise error

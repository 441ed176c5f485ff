"""Check the query string before the route runs: valid text, no card data, only declared names, each once.

Without the check of names, a mistyped filter would be ignored and everything listed. Without the check of the text, Starlette
would replace bytes that are not UTF-8, and a search would look for a value that the client did not send.

The names come from the declaration of each route: the query parameters of its endpoint and of all its dependencies, the fields
of query models, and the parameters in ``openapi_extra`` that the route reads itself.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import chain
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic import BaseModel
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api.strict_json import REPEATABLE, check_once
from workflows.card_data import ISSUE, looks_like_card_data
from workflows.errors import Detail, InvalidRequest, MalformedRequest

MAX_DETAILS = 10
"""The most unknown names reported in one error. Finding a similar name takes up to 0.1 ms, and a query may hold thousands."""

NOTHING: frozenset[str] = frozenset()

_REPEATABLE_NAME = re.compile(r"(?!.*[0-9]{5})[A-Za-z_][A-Za-z0-9_.\[\]-]{0,63}")
"""An unknown name that an error may quote. Any other text could hold anything, even a part of a card number."""

_HUMP = re.compile("(?<=[a-z0-9])(?=[A-Z])")

_NUL = b"%00"  # NUL can arrive only in this form, because a request line with the byte itself is not valid HTTP


def install_query_check(app: FastAPI) -> None:
    """Install the check for all routes of ``app``. Call it after the last route was added.

    Raises ``TypeError`` for a route whose query names cannot be determined, such as a mounted application.
    """
    names: dict[int, frozenset[str]] = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):  # has ``check_query`` as a dependency
            names[id(route)] = names.get(id(route), NOTHING) | declared_names(context)
        elif isinstance(route, Route):
            route.app = _refuse_query(route.app)
        else:
            raise TypeError(f"The query names of {route} are unknown")
    app.state.query_names = names


def declared_names(context: RouteContext) -> frozenset[str]:
    """Return the query names that a route declares."""
    extra = (context.openapi_extra or {}).get("parameters", ())
    return frozenset(_parameter_names(context.dependant)) | {item["name"] for item in extra if item["in"] == "query"}


def _parameter_names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from (inner.alias or name for name, inner in model.model_fields.items())
        else:
            yield field.alias
    for inner in dependant.dependencies:
        yield from _parameter_names(inner)


async def check_query(request: Request) -> None:
    """Check the query of a request.

    Raises ``MalformedRequest`` for invalid text and for unknown or repeated names, ``InvalidRequest`` for card data.
    """
    if request.scope["query_string"]:
        check_names(query_names(request), known=request.app.state.query_names[id(request.scope["route"])])


def query_names(request: Request) -> list[str]:
    """Return the names in the query in their order, with repetitions.

    Raises ``MalformedRequest`` if the query is not UTF-8 or holds a NUL character, ``InvalidRequest`` if it holds card data.
    """
    raw: bytes = request.scope["query_string"]
    if _NUL in raw:
        raise MalformedRequest(Detail("query", "Must not hold a NUL character"))
    if not raw.isascii() or (b"%" in raw and not _is_utf8(unquote_to_bytes(raw))):
        raise MalformedRequest(Detail("query", "Must be percent-encoded UTF-8"))
    items = request.query_params.multi_items()
    joined = '"'.join(chain.from_iterable(items))  # searched at once, so that many small values cost no more than one
    if looks_like_card_data(joined):
        named = (name for name, value in items if looks_like_card_data(value) and REPEATABLE.fullmatch(name))
        raise InvalidRequest(Detail(next(named, "query"), ISSUE))
    return [name for name, _ in items]


def check_names(names: list[str], *, known: frozenset[str]) -> None:
    """Raise ``MalformedRequest`` if one of ``names`` is not ``known`` or occurs twice."""
    if unknown := [name for name in dict.fromkeys(names) if name not in known]:
        raise MalformedRequest(*(_detail(name, sorted(known)) for name in unknown[:MAX_DETAILS]))
    check_once(names, field="query")


def _refuse_query(app: ASGIApp) -> ASGIApp:
    """Wrap the application of a route that takes no query, so that any query name is refused."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["query_string"]:
            check_names(query_names(Request(scope)), known=NOTHING)
        await app(scope, receive, send)

    return checked


def _detail(name: str, known: list[str]) -> Detail:
    """Return the detail for the unknown name ``name``, with the name that was probably meant."""
    if not _REPEATABLE_NAME.fullmatch(name):
        issue = "One of its parameters does not exist on this route" if name else "One of its parameters has no name"
        return Detail("query", issue)
    plain = _HUMP.sub("_", name).lower().replace("-", "_").partition("[")[0]
    if near := get_close_matches(plain, known, n=1):
        return Detail(name, f"There is no such query parameter. Did you mean {near[0]}?")
    takes = f"This route takes {', '.join(known)}" if known else "This route takes none"
    return Detail(name, f"There is no such query parameter. {takes}")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True

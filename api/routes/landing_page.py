"""Serve the landing page at ``/``, which links the other pages, and the guides.

The page links only what exists: the installed guides, and Flower if its address is configured. Like the API documentation,
these pages require no token, because apart from Flower's address they contain nothing about this installation.
"""

from collections.abc import Iterator
from html import escape
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api import guides
from api.responses import json_response, prefers_json
from workflows.errors import ResourceNotFound
from workflows.settings import Settings

router = APIRouter(include_in_schema=False)

NAME = "MPAC SmartPOS Payments"
ABOUT = "The payments service of a point-of-sale platform. Terminals and back offices use it through its API."


def install_landing_page(app: FastAPI, settings: Settings) -> None:
    """Add the routes of the landing page and the guides to ``app``."""
    app.state.links = dict(_links(settings.flower_url))
    app.include_router(router)


def _links(flower_url: str | None) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the name of each link except the guides, with its address and text."""
    yield "documentation", ("/docs", "API documentation")
    yield "openapi", ("/api/v1/openapi.json", "OpenAPI document")
    yield "health", ("/health/ready", "Health")
    if flower_url:
        yield "flower", (flower_url, "Flower: workers and tasks (requires a user name and password)")


@router.get("/")
async def landing_page(request: Request, accept: Annotated[str, Header()] = "") -> Response:
    """Return the links as a page, or as JSON to a client that prefers it."""
    links: dict[str, tuple[str, str]] = request.app.state.links
    offered = {name: (f"{guides.PATH}/{name}", about) for name, about in guides.list_guides().items()}
    if prefers_json(accept):
        answer = json_response({"name": NAME, "links": _addresses(links), "guides": _addresses(offered)})
        answer.headers["Vary"] = "Accept"
        return answer
    listed = f"<h2>Guides</h2>\n{_list(offered)}" if offered else ""
    return _page(guides.styled_page(NAME, f"<h1>{NAME}</h1>\n<p>{ABOUT}</p>\n{_list(links)}\n{listed}"))


@router.get(guides.PATH + "/{name}")
async def guide(name: str) -> Response:
    """Return a guide as a page."""
    page = guides.read_guide(name)
    if page is None:
        raise ResourceNotFound()
    return _page(page)


def _addresses(links: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {name: address for name, (address, _) in links.items()}


def _list(links: dict[str, tuple[str, str]]) -> str:
    items = "\n".join(f'<li><a href="{escape(address)}">{escape(text)}</a></li>' for address, text in links.values())
    return f"<ul>\n{items}\n</ul>"


def _page(page: str) -> Response:
    return HTMLResponse(page, headers={"Content-Security-Policy": guides.POLICY, "Vary": "Accept"})

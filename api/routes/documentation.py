"""Serve the OpenAPI document, and the API documentation at ``/docs``: Swagger UI without a CDN.

FastAPI's default page loads its script from the internet, which many shops' networks do not reach. The files come from the
package ``fastapi-offline``. They are not served by ``StaticFiles``, which would answer 206 and 304, statuses that this API
does not use. The page is written here because FastAPI's page has an inline script, for which the content security policy
would have to allow inline scripts.
"""

import asyncio
import json
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api.html_page import html_page
from api.media_types import JSON
from api.openapi.postprocess import postprocess
from workflows.errors import ResourceNotFound
from workflows.settings import Settings

PATH = "/docs"
DOCUMENT = "/api/v1/openapi.json"
ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}
ONE_DAY = "public, max-age=86400"  # the files change only with a release

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Only files of this server, and no inline scripts. Inline styles are allowed, because Swagger UI sets them while it runs."""

HEAD = f'<link rel="stylesheet" href="{PATH}/swagger-ui.css">'
BODY = f"""<div id="swagger-ui"></div>
<script src="{PATH}/swagger-ui-bundle.js"></script>
<script src="{PATH}/start.js"></script>"""

OPTIONS = {
    "dom_id": "#swagger-ui",
    "layout": "BaseLayout",
    "deepLinking": True,
    "showExtensions": True,
    "showCommonExtensions": True,
    "tryItOutEnabled": True,
    "displayRequestDuration": True,
    "docExpansion": "list",
}

router = APIRouter(include_in_schema=False)


class PublishedDocument:
    """The OpenAPI document of an application, rendered at the first request and then cached as bytes."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._making = asyncio.Lock()
        self._raw = b""

    async def read(self) -> bytes:
        """Return the document as JSON.

        It is rendered in a thread, because that takes half a second, which would delay every payment.
        """
        async with self._making:
            self._raw = self._raw or await asyncio.to_thread(self._make)
        return self._raw

    def _make(self) -> bytes:
        return orjson.dumps(document_of(self._app, self._settings))


def document_of(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """Return the published OpenAPI document of ``app``: FastAPI's document, postprocessed."""
    made = app.openapi()
    app.openapi_schema = None  # drop FastAPI's cache, which takes more memory than the rendered bytes
    postprocess(made, settings)
    return made


def install_documentation(app: FastAPI, settings: Settings) -> None:
    """Add the routes of the page and the document to ``app``."""
    app.state.document = PublishedDocument(app, settings)
    app.include_router(router)


@router.get(DOCUMENT)
async def document(request: Request) -> Response:
    """Return the OpenAPI document."""
    published: PublishedDocument = request.app.state.document
    return Response(await published.read(), media_type=JSON)


@router.get(PATH)
async def page(request: Request) -> Response:
    """Return the page.

    Its button `Authorize` takes a token of `mpac token`; `Try it out` calls this server.
    """
    page = html_page(request.app.title, head=HEAD, body=BODY)
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})


@router.get(f"{PATH}/start.js")
async def start() -> Response:
    """Return the script that starts the page."""
    options = json.dumps({"url": DOCUMENT, **OPTIONS})
    script = f"window.ui = SwaggerUIBundle(Object.assign({options}, {{presets: [SwaggerUIBundle.presets.apis]}}));\n"
    return Response(script, media_type="text/javascript")


@router.get(f"{PATH}/{{name}}")
async def asset(name: str) -> Response:
    """Return one of the page's files."""
    if name not in ASSETS:
        raise ResourceNotFound()
    return Response(_read(name), media_type=ASSETS[name], headers={"Cache-Control": ONE_DAY})


@cache
def _read(name: str) -> bytes:
    return files("fastapi_offline").joinpath("static", name).read_bytes()

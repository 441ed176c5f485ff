"""The documentation page at ``/docs``: Swagger UI over our own OpenAPI document, without a CDN.

FastAPI's default page loads its script from the internet, which a shop's network or a review on a train does not have.
The files come with the wheel ``fastapi-offline`` and are served here, not by ``StaticFiles``, which answers 206 and 304:
only the codes of the status code reference are ever sent.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response

from api.examples import add_examples
from workflows.errors import ResourceNotFound

PATH = "/docs"
ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}
FRAMEWORK_ERROR = "HTTPValidationError"
ONE_DAY = "public, max-age=86400"  # they change with a release only

router = APIRouter(prefix=PATH, include_in_schema=False)


def install_documentation(app: FastAPI) -> None:
    """Give ``app`` the page, and its document the examples."""
    app.include_router(router)

    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = generate()  # which keeps it in app.openapi_schema
            drop_framework_errors(made)
            add_examples(made)
        return generate()

    app.openapi = document  # type: ignore[method-assign]  # how FastAPI's own documentation has it done


def drop_framework_errors(document: dict[str, Any]) -> None:
    """Take out the 422 that FastAPI writes for any route with parameters: ours answers those with 400, in the envelope."""
    for path in document["paths"].values():
        for operation in path.values():
            if FRAMEWORK_ERROR in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in (FRAMEWORK_ERROR, "ValidationError"):
        document["components"]["schemas"].pop(name, None)


@router.get("")
async def page(request: Request) -> Response:
    """The page; `Authorize` takes a token of `mpac token`, and `Try it out` calls this very process."""
    return get_swagger_ui_html(
        openapi_url=str(request.app.openapi_url),
        title=request.app.title,
        swagger_js_url=f"{PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{PATH}/swagger-ui.css",
        swagger_favicon_url=f"{PATH}/favicon.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True, "docExpansion": "list"},
    )


@router.get("/{name}")
async def asset(name: str) -> Response:
    """One of the page's files."""
    if name not in ASSETS:
        raise ResourceNotFound()
    return Response(_read(name), media_type=ASSETS[name], headers={"Cache-Control": ONE_DAY})


@cache
def _read(name: str) -> bytes:
    return files("fastapi_offline").joinpath("static", name).read_bytes()

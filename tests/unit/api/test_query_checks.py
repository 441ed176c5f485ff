"""The check of query names finds every parameter, in whichever form a route declares it."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.staticfiles import StaticFiles

from api.query_checks import check_names, declared_names, install_query_check
from workflows.errors import MalformedRequest


class Filters(BaseModel):
    """A query parameter model."""

    plain: str = ""
    is_open: Annotated[bool, Field(alias="open")] = False


async def _innermost(of_inner: str = "") -> str:
    return of_inner


async def _of_router(of_include: str = "", _inner: Annotated[str, Depends(_innermost)] = "") -> None:
    del of_include


def _app() -> FastAPI:
    router = APIRouter()

    @router.get("/several")
    async def several(day: Annotated[str, Query(alias="date")], limit: int = 1) -> None:
        del day, limit

    @router.get(
        "/model", openapi_extra={"parameters": [{"name": "by_hand", "in": "query"}, {"name": "x", "in": "header"}]}
    )
    async def model(wanted: Annotated[Filters, Query()]) -> None:
        del wanted

    app = FastAPI(openapi_url=None)
    app.include_router(router, prefix="/v1", dependencies=[Depends(_of_router)])
    return app


def test_query_names_of_parameters_dependencies_aliases_and_models_are_found() -> None:
    found = {context.path: declared_names(context) for context in iter_route_contexts(_app().routes)}
    included = {"of_include", "of_inner"}
    assert found == {"/v1/several": {"date", "limit", *included}, "/v1/model": {"plain", "open", "by_hand", *included}}


def test_route_with_undeclared_query_names_is_refused_at_the_start() -> None:
    app = _app()
    app.mount("/files", StaticFiles(directory="."))
    with pytest.raises(TypeError, match="are unknown"):
        install_query_check(app)


def test_at_most_ten_unknown_query_names_are_reported() -> None:
    with pytest.raises(MalformedRequest) as refused:
        check_names([f"limi{number}" for number in range(10_000)], known=frozenset({"limit"}))
    assert len(refused.value.details) == 10

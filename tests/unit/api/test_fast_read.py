"""A fast read answers like an ordinary route; what it cannot run is refused when the application is built."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse, Response
from starlette.types import Message

from api import dependencies, fast_read
from api.dependencies import AnyCaller, CurrentPage, EntityId, MerchantAdmin, RuntimeDep, at_least
from api.errors import error_body, from_validation
from api.fast_read import FastRead, fast_get, install_fast_reads
from api.query_checks import check_query, install_query_check
from api.routes import bills, orders, payments, refunds
from api.schemas.payment_and_refund_queries import PaymentQuery
from api.schemas.query_types import WholeNumber
from workflows.errors import DomainError, NotAuthenticated
from workflows.tenants.caller import Caller, CallerRole

Endpoint = Callable[..., Any]


async def _get(
    *,
    number: EntityId,
    caller: AnyCaller,
    page: CurrentPage,
    wanted: Annotated[PaymentQuery, Query()],
    least: Annotated[WholeNumber, Query(ge=0)] = 3,
) -> Response:
    shown = {"number": number, "caller": caller.id, "page": [page.limit, page.before], "least": least}
    return JSONResponse({**shown, "wanted": wanted.model_dump(mode="json")})


async def _get_required(caller: AnyCaller, needed: Annotated[WholeNumber, Query()]) -> Response:
    return JSONResponse([caller.id, needed])


async def _with_header(caller: AnyCaller, x: Annotated[str, Header()]) -> Response:
    raise NotImplementedError


async def _with_request(caller: AnyCaller, request: Request) -> Response:
    raise NotImplementedError


async def _with_role(caller: MerchantAdmin) -> Response:
    raise NotImplementedError


async def _without_caller(runtime: RuntimeDep) -> Response:
    raise NotImplementedError


def _in_a_thread(limit: int = 1) -> int:
    raise NotImplementedError


async def _with_thread(caller: AnyCaller, limit: Annotated[int, Depends(_in_a_thread)]) -> Response:
    raise NotImplementedError


async def _answer(_request: Request, error: Exception) -> Response:
    known = from_validation(error.errors()) if isinstance(error, RequestValidationError) else error
    assert isinstance(known, DomainError)
    return JSONResponse(error_body(known))


async def _get_raw(app: FastAPI, path: str, query: str) -> bytes:
    """Return the body of the answer to a GET."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": [], "state": {}}
    await app({**scope, "http_version": "1.1", "root_path": "", "scheme": "http"}, receive, send)
    return b"".join(message.get("body", b"") for message in sent)


def built(endpoint: Endpoint, path: str) -> FastAPI:
    """Build an application that serves ``endpoint`` as a fast read and as an ordinary route."""
    router = APIRouter()
    fast_get(router, f"/fast{path}")(endpoint)
    router.get(f"/plain{path}")(endpoint)
    app = FastAPI(openapi_url=None, dependencies=[Depends(check_query)])
    app.include_router(router)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(DomainError, _answer)
    install_query_check(app)
    install_fast_reads(app)
    return app


@pytest.fixture
def as_caller(monkeypatch: pytest.MonkeyPatch) -> Callable[[Caller | None], None]:
    def become(caller: Caller | None) -> None:
        async def authenticate(_request: Request) -> Caller:
            if caller is None:
                raise NotAuthenticated()
            return caller

        monkeypatch.setattr(fast_read, "authenticate", authenticate)
        monkeypatch.setattr(dependencies, "authenticate", authenticate)

    return become


@pytest.mark.parametrize("caller", [Caller("usr_1", CallerRole.STAFF), None])
@pytest.mark.parametrize("number", ["pay_1", "a b"])
@pytest.mark.parametrize(
    "query",
    [
        *("", "limit=7", "limit=7&cursor=pay_1&least=0&status=completed", "created_from=2026-11-23T10:00:00Z"),
        *("limit=x", "limit=0&least=-1", "least=05&cursor=a%20b", "status=eaten&amount_from=x", "other=1"),
        *("limit=1&limit=2", "limit=%ff"),
    ],
)
async def test_answers_of_a_fast_read_are_those_of_an_ordinary_route(
    query: str, number: str, caller: Caller | None, as_caller: Callable[[Caller | None], None]
) -> None:
    as_caller(caller)
    app = built(_get, "/{number}")
    fast, plain = [await _get_raw(app, f"/{kind}/{number}", query) for kind in ("fast", "plain")]
    assert fast == plain


@pytest.mark.parametrize("query", ["", "needed=5"])
async def test_parameter_without_a_default_is_required(query: str, as_caller: Callable[[Caller | None], None]) -> None:
    as_caller(Caller("usr_1", CallerRole.STAFF))
    app = built(_get_required, "")
    fast, plain = [await _get_raw(app, f"/{kind}", query) for kind in ("fast", "plain")]
    assert fast == plain
    assert (b"error" in fast) is not bool(query)


@pytest.mark.parametrize("endpoint", [_with_header, _with_request, _with_role, _with_thread])
def test_unsupported_parameter_is_refused_at_the_start(endpoint: Endpoint) -> None:
    with pytest.raises(TypeError, match="is a fast read, which does not support"):
        built(endpoint, "")


def test_endpoint_without_a_caller_is_refused_at_the_start() -> None:
    with pytest.raises(TypeError, match="must take a caller"):
        built(_without_caller, "")


def test_unsupported_check_is_refused_at_the_start() -> None:
    router = APIRouter()
    fast_get(router, "/x", dependencies=[Depends(at_least(CallerRole.MERCHANT_ADMIN).dependency)])(_get_required)
    app = FastAPI(openapi_url=None)
    app.include_router(router)
    with pytest.raises(TypeError, match="does not support the dependency"):
        install_fast_reads(app)


def test_every_read_of_a_terminal_is_fast() -> None:
    routes = [route for module in (bills, orders, payments, refunds) for route in module.router.routes]
    reads = [route for route in routes if isinstance(route, APIRoute) and route.methods == {"GET"}]
    assert {route.path for route in reads if not isinstance(route, FastRead)} == {"/payments/{payment_id}/events"}

"""A fast route runs every declared check and dependency; what it cannot run is refused when the application is built."""

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.responses import JSONResponse, Response
from starlette.types import Message

from api import fast_route
from api.dependencies import AnyCaller, EntityId, IdempotencyKey, MerchantAdmin, RequestId, RuntimeDep, at_least
from api.errors import error_body, from_validation
from api.fast_route import FastRoute, install_fast_routes
from api.idempotency import HEADER
from api.request_checks import BEFORE_EVERY_ROUTE, check_body_names, check_content_type
from api.routes import bills, orders, payments, reconciliation, refunds
from api.schemas.orders import OrderIn
from api.uploads import is_upload
from workflows.errors import DomainError
from workflows.settings import Settings
from workflows.tenants.caller import Caller, CallerRole

ROUTERS = (bills, orders, payments, refunds, reconciliation)
Endpoint = Callable[..., Any]


async def _post(body: OrderIn, caller: AnyCaller, key: IdempotencyKey) -> Response:
    raise NotImplementedError


async def _post_with_all(
    number: EntityId,
    order: OrderIn,
    who: AnyCaller,
    its_key: IdempotencyKey,
    request_id: RequestId,
    runtime: RuntimeDep,
) -> Response:
    raise NotImplementedError


async def _post_with_query(
    body: OrderIn, caller: AnyCaller, key: IdempotencyKey, q: Annotated[str, Query()]
) -> Response:
    raise NotImplementedError


async def _post_with_request(body: OrderIn, caller: AnyCaller, key: IdempotencyKey, request: Request) -> Response:
    raise NotImplementedError


async def _post_with_text_in_the_path(name: str, body: OrderIn, caller: AnyCaller, key: IdempotencyKey) -> Response:
    raise NotImplementedError


async def _post_without_key(body: OrderIn, caller: AnyCaller) -> Response:
    raise NotImplementedError


async def _post_with_role(body: OrderIn, caller: MerchantAdmin, key: IdempotencyKey) -> Response:
    raise NotImplementedError


async def _check(request: Request) -> None:
    raise NotImplementedError


async def _check_with_query(request: Request, name: str = "") -> None:
    raise NotImplementedError


async def _check_at_the_end(request: Request) -> AsyncIterator[None]:
    raise NotImplementedError
    yield


def _check_in_a_thread(request: Request) -> None:
    raise NotImplementedError


def made(
    endpoint: Endpoint = _post,
    path: str = "/x",
    *,
    of_route: Endpoint | None = None,
    of_app: Endpoint | None = None,
) -> FastRoute:
    """Build a fast route of a new application.

    The route or the application may have dependencies.
    """
    router = APIRouter()
    router.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        route_class_override=FastRoute,
        dependencies=[Depends(of_route)] if of_route else [],
    )
    checks = [*BEFORE_EVERY_ROUTE, *([of_app] if of_app else [])]
    app = FastAPI(openapi_url=None, dependencies=[Depends(check) for check in checks])
    app.include_router(router, prefix="/v1")
    install_fast_routes(app)
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    return next(route for route in routes if isinstance(route, FastRoute))


def _with(place: str, dependency: Endpoint) -> FastRoute:
    return made(of_route=dependency) if place == "of_route" else made(of_app=dependency)


def test_checks_of_the_application_run_in_their_order_except_check_body_names() -> None:
    assert made().plan.checks == tuple(check for check in BEFORE_EVERY_ROUTE if check is not check_body_names)


@pytest.mark.parametrize("place", ["of_route", "of_app"])
def test_checks_added_to_a_route_or_to_the_application_run(place: str) -> None:
    checks = _with(place, _check).plan.checks
    assert _check in checks
    assert check_content_type in checks


@pytest.mark.parametrize("place", ["of_route", "of_app"])
@pytest.mark.parametrize(
    "dependency",
    [_check_with_query, _check_at_the_end, _check_in_a_thread, at_least(CallerRole.MERCHANT_ADMIN).dependency],
)
def test_unsupported_dependency_is_refused_at_the_start(place: str, dependency: Endpoint) -> None:
    with pytest.raises(TypeError, match="is a fast route, which does not support"):
        _with(place, dependency)


@pytest.mark.parametrize("endpoint", [_post_with_query, _post_with_request, _post_with_role])
def test_unsupported_parameter_is_refused_at_the_start(endpoint: Endpoint) -> None:
    with pytest.raises(TypeError, match="is a fast route, which does not support"):
        made(endpoint)


def test_path_parameter_that_is_not_an_id_is_refused_at_the_start() -> None:
    with pytest.raises(TypeError, match="does not support the path parameter 'name', which is not an EntityId"):
        made(_post_with_text_in_the_path, path="/{name}/x")


def test_endpoint_that_requires_a_role_is_refused_with_the_reason() -> None:
    with pytest.raises(TypeError, match="cannot require a role"):
        made(_post_with_role)


def test_endpoint_without_an_idempotency_key_is_refused_at_the_start() -> None:
    with pytest.raises(TypeError, match="must take a caller and an idempotency key"):
        made(_post_without_key)


def test_endpoint_parameters_may_have_any_name() -> None:
    plan = made(_post_with_all, path="/{number}/x").plan
    assert (plan.body_parameter, plan.caller_parameter, plan.key_parameter) == ("order", "who", "its_key")
    assert (plan.request_id_parameter, plan.runtime_parameter) == ("request_id", "runtime")
    assert (plan.has_path_ids, plan.model) == (True, OrderIn)


def keyed_routes() -> list[APIRoute]:
    """Return the routes that declare the Idempotency-Key header."""
    routes = [route for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)]
    return [
        route
        for route in routes
        if any(each["name"] == HEADER for each in (route.openapi_extra or {}).get("parameters", []))
    ]


def test_every_route_with_a_key_is_fast_or_takes_files() -> None:
    found = keyed_routes()
    assert len(found) >= 7
    for route in found:
        path = f"/api/v1{route.path.format(settlement_id='stl_1', bill_id='bil_1', payment_id='pay_1')}"
        assert isinstance(route, FastRoute) or is_upload(path), path


async def _plain(number: EntityId, order: OrderIn) -> Response:
    raise NotImplementedError


async def _refuse(_request: Request, error: Exception) -> Response:
    """Answer with the client's error, and do not store it."""
    known = from_validation(error.errors()) if isinstance(error, RequestValidationError) else error
    assert isinstance(known, DomainError)
    return JSONResponse(error_body(known))


async def _post_raw(app: FastAPI, path: str, body: bytes) -> bytes:
    """Return the body of the answer to a POST of ``body``."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (HEADER.lower().encode(), b"k")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers, "state": {}}
    await app({**scope, "http_version": "1.1", "root_path": "", "scheme": "http"}, receive, send)
    return b"".join(message.get("body", b"") for message in sent)


VALID = b'{"order_type": "takeaway", "items": [{"name": "Tea", "quantity": 1, "unit_price": 5, "tax_rate": "0.1"}]}'


@pytest.mark.parametrize(
    ("number", "body"),
    [
        ("ord_1", b""),
        ("ord_1", b"{"),
        ("ord_1", b"[]"),
        ("ord_1", b"{}"),
        ("ord_1", b'{"order_type": "eat", "items": [], "other": 1}'),
        ("ord_1", VALID.replace(b'"quantity": 1', b'"quantity": 0')),
        ("ord_1", VALID.replace(b'"0.1"', b"0.1")),
        ("a b", VALID),
    ],
)
async def test_errors_of_a_fast_route_are_those_of_an_ordinary_route(
    number: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = Caller(id="u", role=CallerRole.STAFF)

    async def authenticate(request: Request) -> Caller:
        request.state.caller = caller
        return caller

    settings = Settings(
        database_url="postgresql://nobody@127.0.0.1:1/x", broker_url="redis://127.0.0.1:1", secret_key="x"
    )
    monkeypatch.setattr(fast_route, "authenticate", authenticate)
    monkeypatch.setattr(fast_route, "runtime_of", lambda _request: SimpleNamespace(settings=settings))
    router = APIRouter()
    router.add_api_route("/fast/{number}", _post_with_all, methods=["POST"], route_class_override=FastRoute)
    router.add_api_route("/plain/{number}", _plain, methods=["POST"])
    app = FastAPI(openapi_url=None)
    app.include_router(router)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(DomainError, _refuse)
    install_fast_routes(app)
    fast, plain = [await _post_raw(app, f"/{kind}/{number}", body) for kind in ("fast", "plain")]
    assert b'"details":[{' in fast
    assert fast == plain

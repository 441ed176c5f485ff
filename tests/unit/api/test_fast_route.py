"""The fast route runs what its declaration names, or is refused when the application is made."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.responses import Response

from api.dependencies import AnyCaller, IdempotencyKey, MerchantAdmin, RequestId, RuntimeDep, at_least
from api.fast_route import FastRoute, install_fast_routes
from api.idempotency import HEADER
from api.request_checks import BEFORE_EVERY_ROUTE, check_body_names, check_content_type
from api.routes import bills, orders, payments, reconciliation, refunds
from api.schemas.orders import OrderIn
from api.uploads import is_upload
from workflows.tenants.caller import CallerRole

ROUTERS = (bills, orders, payments, refunds, reconciliation)
Endpoint = Callable[..., Any]


async def _post(body: OrderIn, caller: AnyCaller, key: IdempotencyKey) -> Response:
    raise NotImplementedError


async def _post_with_all(
    number: str, order: OrderIn, who: AnyCaller, its_key: IdempotencyKey, request_id: RequestId, runtime: RuntimeDep
) -> Response:
    raise NotImplementedError


async def _post_with_query(
    body: OrderIn, caller: AnyCaller, key: IdempotencyKey, q: Annotated[str, Query()]
) -> Response:
    raise NotImplementedError


async def _post_with_request(body: OrderIn, caller: AnyCaller, key: IdempotencyKey, request: Request) -> Response:
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
    """Return a fast route of an application, with a dependency of its own or of the application's."""
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
def test_check_that_is_added_to_the_route_or_the_application_runs(place: str) -> None:
    checks = _with(place, _check).plan.checks
    assert _check in checks
    assert check_content_type in checks


@pytest.mark.parametrize("place", ["of_route", "of_app"])
@pytest.mark.parametrize(
    "dependency",
    [_check_with_query, _check_at_the_end, _check_in_a_thread, at_least(CallerRole.MERCHANT_ADMIN).dependency],
)
def test_dependency_that_would_not_run_is_refused_at_the_start(place: str, dependency: Endpoint) -> None:
    with pytest.raises(TypeError, match="is a fast route, which cannot run"):
        _with(place, dependency)


@pytest.mark.parametrize("endpoint", [_post_with_query, _post_with_request, _post_with_role])
def test_parameter_that_would_not_be_filled_in_is_refused_at_the_start(endpoint: Endpoint) -> None:
    with pytest.raises(TypeError, match="is a fast route, which cannot run"):
        made(endpoint)


def test_endpoint_without_an_idempotency_key_is_refused_at_the_start() -> None:
    with pytest.raises(TypeError, match="must take a caller and an idempotency key"):
        made(_post_without_key)


def test_arguments_may_have_any_name() -> None:
    plan = made(_post_with_all, path="/{number}/x").plan
    assert (plan.body, plan.caller, plan.key) == ("order", "who", "its_key")
    assert (plan.request_id, plan.runtime, plan.has_ids, plan.model) == ("request_id", "runtime", True, OrderIn)


def keyed_routes() -> list[APIRoute]:
    """Return the routes that document an idempotency key."""
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

"""Every POST that takes an idempotency key compares the meanings of bodies, which needs the validated body."""

from fastapi.routing import APIRoute

from api.fast_route import FastRoute
from api.idempotency import HEADER
from api.routes import bills, orders, payments, reconciliation, refunds
from api.uploads import is_upload

ROUTERS = (bills, orders, payments, refunds, reconciliation)


def keyed_routes() -> list[APIRoute]:
    routes = [route for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)]
    return [
        route
        for route in routes
        if any(each["name"] == HEADER for each in (route.openapi_extra or {}).get("parameters", []))
    ]


def test_all_routes_with_a_key_are_hot_or_take_files() -> None:
    found = keyed_routes()
    assert len(found) >= 7
    for route in found:
        path = f"/api/v1{route.path.format(settlement_id='stl_1', bill_id='bil_1', payment_id='pay_1')}"
        assert isinstance(route, FastRoute) or is_upload(path), path

"""A request to a hot route gets the same answer from ``Application`` itself as from the framework's layers."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import app as composition
from api import hot_routes
from api.app import build_app
from api.fast_read import FastRead
from api.fast_route import FastRoute
from api.hot_routes import Application
from tests.conftest import MakeTenant, Serve
from tests.factories import Tenant
from tests.harness import Answer, Api
from workflows.errors import ServiceUnavailable
from workflows.payments.accept import PaymentIntake
from workflows.settings import Settings

ID = re.compile("[a-z]{3}_[0-9a-f]{32}")
VARYING = {"date", "content-length", "x-request-id"}
PAYMENT = {"amount": 1_000, "method": {"type": "qr", "mode": "cpm", "token": "tok_1"}}


@dataclass(frozen=True)
class Asked:
    """A request, by default a valid one to POST /payments."""

    body: bytes = json.dumps(PAYMENT).encode()
    method: str = "POST"
    path: str = "/payments"
    key: str | None = "k-1"
    is_known: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)


def read(path: str) -> Asked:
    """Return a GET by a known device."""
    return Asked(b"", method="GET", path=path, key=None)


REQUESTS = {
    "accepted": Asked(),
    "replayed": Asked(),
    "key of another body": Asked(json.dumps({**PAYMENT, "amount": 2}).encode()),
    "unknown field": Asked(json.dumps({**PAYMENT, "x": 1}).encode(), key="k-2"),
    "invalid amount": Asked(json.dumps({**PAYMENT, "amount": 0}).encode(), key="k-3"),
    "card data": Asked(json.dumps({**PAYMENT, "metadata": {"n": "4111111111111111"}}).encode(), key="k-4"),
    "no body": Asked(b"", key="k-5"),
    "not JSON": Asked(b"{", key="k-6"),
    "name twice": Asked(b'{"amount": 1, "amount": 2}', key="k-7"),
    "too large": Asked(b'"' + b"x" * 1_000_000 + b'"', key="k-8"),
    "no key": Asked(key=None),
    "no token": Asked(is_known=False),
    "wrong type": Asked(headers={"Content-Type": "text/plain"}),
    "unknown query": Asked(path="/payments?amout=1"),
    "method that does not exist": Asked(method="PUT"),
    "HEAD": Asked(method="HEAD", body=b""),
    "path with a slash": Asked(path="/payments/"),
    "order": Asked(json.dumps({"order_type": "takeaway"}).encode(), path="/orders", key="k-9"),
    "refund of an unknown payment": Asked(
        b'{"reason": "r", "staff_code": "7"}', path="/payments/pay_1/refund", key="k-10"
    ),
    "list": read("/payments?limit=1"),
    "list with a wrong limit": read("/payments?limit=0"),
    "list of orders with a wrong time": read("/orders?created_from=today"),
    "list without a token": Asked(b"", method="GET", is_known=False),
    "unknown payment": read("/payments/pay_1"),
    "unknown payment to wait for": read("/payments/pay_1?wait=1&since_version=1"),
    "wait of unknown length": read("/payments/pay_1?wait=long"),
    "unknown query of a payment": read("/payments/pay_1?wiat=1"),
    "id that no row can have": read("/bills/a%20b"),
    "id in two parts": read("/orders/a%2Fb"),
    "body of a read": Asked(b"{", method="GET", path="/orders/ord_1", key=None),
    "stream of an unknown payment": read("/payments/pay_1/stream"),
    "refunds of an unknown payment": read("/payments/pay_1/refunds"),
    "events": read("/payments/pay_1/events"),
    "no id": read("/bills/"),
    "part after an id": read("/bills/bil_1/x"),
    "slash after an id": read("/payments/pay_1/"),
}
COLD = {
    *(
        "method that does not exist",
        "HEAD",
        "path with a slash",
        "events",
        "no id",
        "part after an id",
        "slash after an id",
        "id in two parts",
    ),
}
"""The requests that are left to the framework."""


async def ask(api: Api, tenant: Tenant, asked: Asked) -> tuple[int, Any, dict[str, str]]:
    """Send a request; return the status, the body without what differs per payment, and the headers."""
    answer: Answer = await api.call(
        asked.method,
        asked.path,
        asked.body or None,
        as_=api.signer.device(tenant) if asked.is_known else None,
        key=asked.key,
        headers={"Content-Type": "application/json", **asked.headers} if asked.body else {},
    )
    body = answer.body
    if isinstance(body, dict):
        body = sorted(body) if "error" not in body else ID.sub("an id", json.dumps(body))
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert headers["x-request-id"]
    return answer.status, body, {name: value for name, value in headers.items() if name not in VARYING}


async def answers(serve: Serve, make_tenant: MakeTenant, **changes: Any) -> dict[str, object]:
    """Return the answers to ``REQUESTS``, sent one after another by a new tenant."""
    tenant = await make_tenant()
    async with serve(**changes) as api:
        return {name: await ask(api, tenant, asked) for name, asked in REQUESTS.items()}


def without_hot_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "install_hot_routes", lambda *_: None)


def count_hot_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the path of each request that a hot route serves."""
    served: list[str] = []

    def install(app: Application, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
        def counting(inner: ASGIApp) -> ASGIApp:
            serve = wrap(inner)

            async def counted(scope: Scope, receive: Receive, send: Send) -> None:
                served.append(scope["path"])
                await serve(scope, receive, send)

            return counted

        hot_routes.install_hot_routes(app, counting)

    monkeypatch.setattr(composition, "install_hot_routes", install)
    return served


async def test_hot_routes_answer_as_the_framework_does(serve: Serve, make_tenant: MakeTenant) -> None:
    with pytest.MonkeyPatch.context() as patch:
        served = count_hot_requests(patch)
        hot = await answers(serve, make_tenant)
    assert len(served) == len(REQUESTS) - len(COLD)
    with pytest.MonkeyPatch.context() as patch:
        without_hot_routes(patch)
        assert hot == await answers(serve, make_tenant)


@pytest.mark.parametrize("error", [RuntimeError("a defect"), ServiceUnavailable(retry_after_seconds=7)], ids=repr)
async def test_an_error_of_the_use_case_is_answered_alike(
    serve: Serve, make_tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(PaymentIntake, "accept_payment", fail)
    tenant, asked = await make_tenant(), Asked()
    async with serve() as api:
        hot = await ask(api, tenant, asked)
    without_hot_routes(monkeypatch)
    async with serve() as api:
        assert await ask(api, tenant, asked) == hot
    assert hot[0] in (500, 503)


def test_hot_routes_are_the_fast_routes_and_the_fast_reads(settings: Settings) -> None:
    app = build_app(settings)
    fast = [each for each in iter_route_contexts(app.routes) if isinstance(each.original_route, FastRoute | FastRead)]
    paths = {(method, str(each.path)) for each in fast for method in getattr(each.original_route, "methods", ())}
    with_id = {
        (method, "/".join(filter(None, (before, f"{{{name}}}", after))))
        for (method, before, after), (name, _) in app.hot_routes_with_id.items()
    }
    assert {*app.hot_routes, *with_id} == paths
    assert ("POST", "/api/v1/payments") in app.hot_routes
    assert ("GET", "/api/v1/payments/{payment_id}/stream") in with_id


def test_path_of_another_route_that_looks_like_an_id_is_refused_at_the_start(settings: Settings) -> None:
    app = build_app(settings)
    app.get("/api/v1/orders/export")(unexpected)
    with pytest.raises(TypeError, match="/api/v1/orders/export"):
        hot_routes.install_hot_routes(app, lambda inner: inner)


async def test_a_request_below_a_root_path_is_left_to_the_framework(settings: Settings) -> None:
    app = build_app(settings)
    app.hot_routes = {("POST", "/api/v1/payments"): unexpected}
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "POST", "path": "/api/v1/payments", "root_path": "/api", "query_string": b""}
    await app({**scope, "headers": [], "client": None, "server": None, "scheme": "http"}, receive, send)
    assert sent[0]["status"] == 404


async def unexpected(*_: object) -> None:
    raise AssertionError

"""Every route refuses query names that it does not declare, and accepts those that it declares."""

from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Route

from api.app import create_app
from api.query_checks import declared_names
from tests.factories import Tenant
from tests.harness import Api
from workflows.settings import Settings

CASH = {"amount": 100, "method": {"type": "cash"}}
NO_SUCH = "There is no such query parameter."


@pytest.fixture(scope="module")
def routes(settings: Settings) -> dict[tuple[str, str], frozenset[str]]:
    """Return the declared query names of every route, by method and path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.app.configure_logs", lambda _level: None)
        app = create_app(settings)
    found: dict[tuple[str, str], frozenset[str]] = {}
    for context in iter_route_contexts(app.routes):
        assert isinstance(context.original_route, Route)
        names = declared_names(context) if isinstance(context.original_route, APIRoute) else frozenset[str]()
        found |= {(method, str(context.path)): names for method in context.methods or ()}
    return found


def _path(template: str) -> str:
    """Return ``template`` with an unknown id in each placeholder, as a path for ``Api``."""
    parts = ["none-1" if part.startswith("{") else part for part in template.split("/")]
    return "/" + "/".join(parts)


async def test_every_route_refuses_a_query_name_that_it_does_not_declare(
    api: Api, tenant: Tenant, routes: dict[tuple[str, str], frozenset[str]]
) -> None:
    assert len(routes) > 70
    assert {("GET", "/metrics"), ("GET", "/health/live"), ("GET", "/docs"), ("GET", "/api/v1/openapi.json")} <= set(
        routes
    )
    operator = api.signer.user(tenant, role="system_op")
    for (method, path), names in routes.items():
        for as_ in (None, operator):
            answer = await api.call(method, f"{_path(path)}?needs_revue=true", as_=as_, key="k" if as_ else None)
            assert answer.status == 400, (method, path)
            if method == "HEAD":
                continue
            (detail,) = answer.details
            assert (answer.code, detail["field"]) == ("VALIDATION_ERROR", "needs_revue"), (method, path)
            assert detail["issue"].startswith(NO_SUCH)
            assert names or detail["issue"].endswith("This route takes none"), (method, path)


async def test_every_route_accepts_each_query_name_that_it_declares(
    api: Api, tenant: Tenant, routes: dict[tuple[str, str], frozenset[str]]
) -> None:
    operator = api.signer.user(tenant, role="system_op")
    declared = [(method, path, name) for (method, path), names in routes.items() for name in names]
    assert {name for _, _, name in declared} >= {"limit", "date", "open", "wait", "provider", "mapping", "lang"}
    headers = {"Content-Type": "text/csv"}
    for method, path, name in declared:
        file: dict[str, Any] = {"body": b"a,b\n", "headers": headers} if method == "POST" else {}
        answer = await api.call(method, f"{_path(path)}?{name}=1", as_=operator, key="k", **file)
        known = [] if answer.status < 400 else answer.details
        assert not any(detail["issue"].startswith(NO_SUCH) for detail in known), (method, path, name)


NEAR = {
    "Limit": "limit",
    "LIMIT": "limit",
    "%4cimit": "limit",
    "limits": "limit",
    "status[]": "status",
    "status%5B%5D": "status",
    "status[0]": "status",
    "createdFrom": "created_from",
    "created-from": "created_from",
    "created_from[gte]": "created_from",
    "clientReference": "client_reference",
    "store": "store_id",
}
"""Mistyped query name → the suggested name."""


@pytest.mark.parametrize("written", NEAR)
async def test_answer_to_a_mistyped_query_name_suggests_the_right_one(api: Api, tenant: Tenant, written: str) -> None:
    answer = await api.get(f"/payments?{written}=pending", as_=tenant)
    assert answer.status == 400
    assert answer.details[0]["issue"] == f"{NO_SUCH} Did you mean {NEAR[written]}?"


async def test_answer_to_an_unknown_query_name_lists_the_known_names(api: Api, tenant: Tenant) -> None:
    answer = await api.get("/payments/pay_1?utm_source=mail&fbclid=1", as_=tenant)
    issue = f"{NO_SUCH} This route takes since_version, wait"
    assert answer.details == [{"field": name, "issue": issue} for name in ("utm_source", "fbclid")]


@pytest.mark.parametrize(
    "query",
    [
        "=1",
        "=",
        "limit=1&=",
        ";limit=1",
        "limit;=1",
        "+limit=1",
        "limit%20=1",
        "limit%00=1",
        "limit%ff=1",
        "limit\xff=1",
        "client_reference=%ff",
        "client_reference=%ed%a0%80",
        "\N{CYRILLIC SMALL LETTER A}=1",
        quote("\N{FULLWIDTH LATIN SMALL LETTER L}imit") + "=1",
        "x" * 5_000,
        "a=1&" * 4_000,
        "&".join(f"a{number}=1" for number in range(4_000)),
        "wait=1",
        "since_version=1",
        "utm_source",
        "limit=1&limit=1",
    ],
)
async def test_query_with_bad_text_is_refused(api: Api, tenant: Tenant, query: str) -> None:
    answer = await api.get(f"/payments?{query}", as_=tenant)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert len(answer.raw) < 4_000


@pytest.mark.parametrize("query", ["", "&", "&&", "limit=1&", "&limit=1", "%6cimit=1", "client_reference=a;b%3Dc"])
async def test_separators_and_escapes_of_a_query_are_standard(api: Api, tenant: Tenant, query: str) -> None:
    assert (await api.get(f"/payments?{query}", as_=tenant)).status == 200


@pytest.mark.parametrize("name", ["4111111111111111", "x4111111111111111", "12345", "a12345", "x" * 65, "a b", "<b>"])
async def test_query_name_that_could_be_a_card_number_is_not_repeated(api: Api, tenant: Tenant, name: str) -> None:
    answer = await api.get(f"/payments?{quote(name)}=1", as_=tenant)
    assert answer.status in (400, 422)
    assert answer.details[0]["field"] == "query"
    assert name.encode() not in answer.raw


async def test_a_refused_query_has_no_effect_and_uses_no_key(api: Api, tenant: Tenant) -> None:
    operator = api.signer.user(tenant, role="system_op")
    assert (await api.post("/payments?wait=1", CASH, as_=tenant, key="k")).status == 400
    assert (await api.get("/payments", as_=tenant)).body["data"] == []
    paid = await api.post("/payments", CASH, as_=tenant, key="k")
    assert (paid.status, "Idempotent-Replayed" in paid.headers) == (201, False)
    path = f"/payments/{paid.body['id']}"
    assert (await api.post(f"{path}/cancel?reason=x", {}, as_=tenant)).status == 400
    assert (await api.get(path, as_=tenant)).body["cancel_requested_at"] is None
    body = {"enabled": True, "message": "m"}
    assert (await api.call("PUT", "/ops/maintenance?message=m", body, as_=operator)).status == 400
    assert (await api.get("/payments", as_=tenant)).status == 200


async def test_provider_of_a_statement_is_refused_in_query_and_body_at_once(api: Api, tenant: Tenant) -> None:
    manager = api.signer.user(tenant, role="store_manager")
    body = {"provider": "external", "lines": [{"a": 1}]}
    answer = await api.post("/settlements/stl_1/statements?provider=sandbox", body, as_=manager, key="k")
    assert (answer.status, answer.details[0]["field"]) == (400, "provider")


async def test_an_unknown_path_or_method_is_404_for_any_query(api: Api, tenant: Tenant) -> None:
    assert (await api.get("/nothing?x=1", as_=tenant)).status == 404
    assert (await api.call("OPTIONS", "/payments?x=1", as_=tenant)).status == 404


async def test_unknown_headers_are_ignored(api: Api, tenant: Tenant) -> None:
    headers = {"X-Trace": "1", "Needs-Review": "true"}
    assert (await api.get("/payments", as_=tenant, headers=headers)).status == 200

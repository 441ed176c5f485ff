"""Test who may call each route: roles, other tenants, neighbour stores, mixed tokens and suspended devices (F35).

The table ``LEAST`` is compared with the OpenAPI document, so a new route has to be added to it. Rows of other tenants are
inserted into every table (``planted_rows``). The requests run with both filters, and with the application's own filter alone,
that is with row-level security disabled.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from tests.conftest import Serve
from tests.factories import Tenant
from tests.harness import Api
from tests.integration.tenants.planted_database import (
    FILTERS,
    OWN,
    STORE_ROLES,
    Admin,
    planted_database,
    token,
    use_filters,
)
from tests.integration.tenants.routes import (
    ABOUT_ONE,
    DEVICE,
    LEAST,
    LISTS,
    OPEN,
    ROLES,
    bodies,
    call,
    planted_ids,
    roles_from,
)
from tests.published import published_document
from workflows.database.engines import connect, disconnect
from workflows.settings import Settings

ANSWERS = {route: 200 for route in LISTS} | {
    "POST /orders": 422,  # sent without a body
    "PUT /ops/maintenance": 422,
    "GET /ops/dead-letters": 200,
    "GET /ops/invariants": 200,
}
"""Route → the status that a permitted caller gets for unknown ids. All other routes answer 404."""


@pytest.fixture
async def planted(own_database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Admin]:
    """Yield the owner's connection to a database with rows of three tenants in every table.

    The rows have arbitrary text in every column, so answers about them are not compared with the OpenAPI document.
    """
    monkeypatch.setattr("tests.harness.check_exchange", lambda *_: None)
    async with planted_database(own_database) as admin:
        yield admin


@pytest.fixture
async def exposed(serve: Serve, own_database: str, settings: Settings) -> AsyncIterator[Api]:
    """Run the API on ``own_database``."""
    async with serve(database_url=SecretStr(own_database)) as api:
        yield api
    await disconnect()
    connect(settings)  # reconnect to the other tests' database


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """Return the operations of the OpenAPI document, by path."""
    paths: dict[str, Any] = published_document()["paths"]
    return paths


async def rows_of(admin: Admin, tag: str) -> dict[str, Any]:
    """Return all rows of a tenant, by table."""
    tables = await admin.execute(
        "SELECT attrelid::regclass::text AS name FROM pg_attribute WHERE attname = 'planted_for'"
        " AND attrelid <> 'metric_additions'::regclass"  # belongs to no tenant; the API adds it up in the background
    )
    found = {}
    for table in await tables.fetchall():
        query = SQL("SELECT jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)) AS rows FROM {} t WHERE planted_for = %s")
        rows = await admin.execute(query.format(Identifier(table["name"])), [tag])
        found[table["name"]] = (await rows.fetchall())[0]["rows"]
    assert len(found) > 20
    return found


async def differing(api: Api, route: str, tag: str, *, as_: str) -> list[tuple[object, ...]]:
    """Return the answers about rows of ``tag`` that differ from the 404 for unknown ids."""
    wrong: list[tuple[object, ...]] = []
    for body in bodies(route):
        foreign = await call(api, route, planted_ids(tag), as_=as_, body=body)
        missing = await call(api, route, planted_ids("nobody"), as_=as_, body=body)
        expected = missing.raw.replace(b"-nobody", f"-{tag}".encode())  # an answer may quote the ids of the request
        if (foreign.status, foreign.raw) != (404, expected):
            wrong.append((route, body, foreign.status, foreign.raw[:200], missing.raw[:200]))
    return wrong


def test_table_of_roles_lists_every_documented_route(documented: dict[str, Any]) -> None:
    routes = {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, methods in documented.items()
        for method in methods
        if path.startswith("/api/v1")
    }
    assert routes == set(LEAST)


@pytest.mark.parametrize("route", [route for route in LEAST if LEAST[route] != OPEN])
async def test_a_route_admits_only_its_lowest_role_and_higher_roles(api: Api, tenant: Tenant, route: str) -> None:
    ids, body = planted_ids("nobody"), None if route in ANSWERS else bodies(route)[0]
    for unknown in (None, "forged"):
        refused = await call(api, route, ids, as_=unknown, body=body)
        assert (refused.status, refused.code) == (401, "AUTHENTICATION_ERROR")
    for role in ROLES:
        answer = await call(api, route, ids, as_=token(api, role, tenant), body=body)
        if ROLES.index(role) < ROLES.index(LEAST[route]):
            assert (answer.status, answer.code) == (403, "AUTHORIZATION_ERROR"), role
        else:
            assert answer.status == ANSWERS.get(route, 404), f"{role}: {answer.raw!r}"


@pytest.mark.parametrize("filters", FILTERS)
async def test_rows_of_another_tenant_are_404_on_every_route(exposed: Api, planted: Admin, filters: str) -> None:
    await use_filters(planted, filters)
    before = await rows_of(planted, "b")
    wrong = [
        (role, *found)
        for route in ABOUT_ONE
        for role in roles_from(LEAST[route])
        for found in await differing(exposed, route, "b", as_=token(exposed, role))
    ]
    assert not wrong, "\n".join(map(str, wrong))
    assert await rows_of(planted, "b") == before


@pytest.mark.parametrize("filters", FILTERS)
async def test_rows_of_a_neighbour_store_are_404_to_callers_of_a_store(
    exposed: Api, planted: Admin, filters: str
) -> None:
    await use_filters(planted, filters)
    wrong = [
        (role, *found)
        for route in ABOUT_ONE
        for role in roles_from(LEAST[route])
        if role in STORE_ROLES
        for found in await differing(exposed, route, "next", as_=token(exposed, role))
    ]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("filters", FILTERS)
async def test_a_token_that_mixes_two_tenants_sees_rows_of_neither_tenant(
    exposed: Api, planted: Admin, filters: str
) -> None:
    await use_filters(planted, filters)
    mixed = exposed.signer.user(OWN, role="store_manager", store_id="store-b")
    for route in ABOUT_ONE:
        if LEAST[route] in STORE_ROLES:
            for tag in ("a", "b"):
                assert await differing(exposed, route, tag, as_=mixed) == []
    for route in LISTS:
        if LEAST[route] in STORE_ROLES:
            assert (await call(exposed, route, {}, as_=mixed)).body["data"] == [], route


async def test_suspended_device_is_refused_on_every_route_from_its_next_request(exposed: Api, planted: Admin) -> None:
    device = token(exposed, DEVICE)
    assert (await call(exposed, "GET /orders", {}, as_=device)).status == 200
    await planted.execute("UPDATE devices SET status = 'suspended'")
    for route, least in LEAST.items():
        if least == DEVICE:
            body = {"order_type": "takeaway", "items": []} if route == "POST /orders" else bodies(route)[0]
            answer = await call(exposed, route, planted_ids("a"), as_=device, body=body)
            assert (answer.status, answer.code) == (403, "AUTHORIZATION_ERROR"), (route, answer.raw)


async def test_every_reading_route_finds_the_callers_planted_rows(exposed: Api, planted: Admin) -> None:
    for route in ABOUT_ONE:
        if route.startswith("GET"):
            role = "psp_admin" if "merchants" in route else "merchant_admin"
            assert (await call(exposed, route, planted_ids("a"), as_=token(exposed, role))).status != 404, route

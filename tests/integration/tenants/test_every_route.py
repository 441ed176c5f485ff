"""Every route there is: who may call it, and F35: another tenant's ids are 404 on it, as ids that nobody has are.

The table is held against the OpenAPI document, so a route that is added has to say here who may. Rows of other tenants are
planted in every table (``planted``), once behind both walls and once with row-level security off.
"""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import psycopg
import pytest
import uuid_utils
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from tests.conftest import Serve
from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.integration.tenants.planted import TENANTS, plant
from tests.published import published_document
from workflows.database.engines import connect, disconnect
from workflows.settings import Settings

OPEN, DEVICE = "anybody", "device"
ROLES = (DEVICE, "staff", "store_manager", "merchant_admin", "psp_admin", "system_op")

LEAST: dict[str, str] = {
    "POST /payments": DEVICE,
    "GET /payments": DEVICE,
    "GET /payments/{payment_id}": DEVICE,
    "GET /payments/{payment_id}/stream": DEVICE,
    "GET /payments/{payment_id}/events": DEVICE,
    "POST /payments/{payment_id}/cancel": DEVICE,
    "POST /payments/{payment_id}/refund": DEVICE,
    "GET /payments/{payment_id}/refunds": DEVICE,
    "GET /refunds": DEVICE,
    "GET /refunds/{refund_id}": DEVICE,
    "POST /refunds/{refund_id}/report": DEVICE,
    "POST /orders": DEVICE,
    "GET /orders": DEVICE,
    "GET /orders/{order_id}": DEVICE,
    "PATCH /orders/{order_id}": DEVICE,
    "POST /orders/{order_id}/submit": DEVICE,
    "POST /orders/{order_id}/cancel": DEVICE,
    "POST /orders/{order_id}/complete": DEVICE,
    "POST /bills": DEVICE,
    "GET /bills": DEVICE,
    "POST /bills/combine": DEVICE,
    "POST /bills/{bill_id}/split": DEVICE,
    "GET /bills/{bill_id}": DEVICE,
    "POST /bills/{bill_id}/void": DEVICE,
    "POST /terminals": "store_manager",
    "GET /terminals": "store_manager",
    "GET /terminals/{device_id}": "store_manager",
    "POST /terminals/{device_id}/suspend": "store_manager",
    "POST /terminals/{device_id}/resume": "store_manager",
    "POST /terminals/{device_id}/deactivate": "store_manager",
    "POST /device/provision/generateActivationCode": "store_manager",
    "POST /device/provision/activate": OPEN,
    "GET /device/provision/activationStatus": "store_manager",
    "POST /auth/device/token": OPEN,
    "GET /settlements": "store_manager",
    "GET /settlements/{settlement_id}": "store_manager",
    "GET /settlements/{settlement_id}/lines": "store_manager",
    "POST /settlements/{settlement_id}/close": "store_manager",
    "POST /settlements/{settlement_id}/cash-count": "store_manager",
    "POST /settlements/{settlement_id}/statements": "store_manager",
    "GET /settlements/{settlement_id}/statements": "store_manager",
    "POST /settlements/{settlement_id}/reconcile": "store_manager",
    "GET /settlements/{settlement_id}/runs": "store_manager",
    "GET /settlements/{settlement_id}/breaks": "store_manager",
    "GET /settlements/{settlement_id}/export.csv": "store_manager",
    "GET /settlements/{settlement_id}/export.json": "store_manager",
    "GET /settlements/{settlement_id}/report": "store_manager",
    "GET /settlements/{settlement_id}/report.pdf": "store_manager",
    "POST /stores/{store_id}/settlement-overrides": "store_manager",
    "PUT /stores/{store_id}/statement-policies": "merchant_admin",
    "GET /stores/{store_id}/statement-policies": "merchant_admin",
    "POST /breaks/{break_id}/resolve": "merchant_admin",
    "POST /breaks/{break_id}/assign": "merchant_admin",
    "GET /ledger/accounts": "merchant_admin",
    "GET /ledger/journals": "merchant_admin",
    "POST /stores": "merchant_admin",
    "GET /stores": "merchant_admin",
    "GET /stores/{store_id}": "merchant_admin",
    "PATCH /stores/{store_id}": "merchant_admin",
    "POST /stores/{store_id}/providers": "merchant_admin",
    "GET /stores/{store_id}/providers": "merchant_admin",
    "GET /stores/{store_id}/providers/{provider}": "merchant_admin",
    "PATCH /stores/{store_id}/providers/{provider}": "merchant_admin",
    "DELETE /stores/{store_id}/providers/{provider}": "merchant_admin",
    "POST /merchants": "psp_admin",
    "GET /merchants": "psp_admin",
    "GET /merchants/{merchant_id}": "psp_admin",
    "PATCH /merchants/{merchant_id}": "psp_admin",
    "PUT /ops/maintenance": "system_op",
    "GET /ops/dead-letters": "system_op",
    "GET /ops/invariants": "system_op",
    "POST /ops/dead-letters/{letter_id}/requeue": "system_op",
    "POST /ops/dead-letters/{letter_id}/close": "system_op",
}
"""Route → the lowest role that may (``api.md``)."""

CASH = {"type": "cash"}
BODIES: dict[str, list[dict[str, Any]]] = {
    "POST /ops/dead-letters/{letter_id}/close": [{"reason": "r"}],
    "POST /payments": [
        {"amount": 1, "method": CASH, "bill_id": "{bill}", "store_id": "store-a"},
        {"amount": 1, "method": CASH, "store_id": "{store}"},
    ],
    "POST /payments/{payment_id}/refund": [{"reason": "r", "staff_code": "s"}],
    "POST /refunds/{refund_id}/report": [{"result": "approved"}],
    "PATCH /orders/{order_id}": [{"table_number": "7"}],
    "POST /bills": [{"order_id": "{order}"}],
    "POST /bills/combine": [{"order_ids": ["{order}", "{order}x"]}],
    "POST /bills/{bill_id}/split": [{"parts": 2}],
    "POST /terminals": [{"store_id": "{store}", "serial_number": "s-{unique}", "name": "n", "model": "m"}],
    "POST /device/provision/generateActivationCode": [{"device_id": "{device}"}],
    "POST /settlements/{settlement_id}/cash-count": [{"cash_actual": 0, "note": "n"}],
    "PUT /stores/{store_id}/statement-policies": [{"provider": "external", "statements": "none", "note": "n"}],
    "POST /stores/{store_id}/settlement-overrides": [
        {"business_date": "2099-01-01", "ends_at_local": "2099-01-02T01:00"}
    ],
    "POST /breaks/{break_id}/resolve": [{"resolution": "ignore", "note": "n"}],
    "POST /breaks/{break_id}/assign": [{"owner": "o"}],
    "POST /stores": [{"name": "n", "merchant_id": "{merchant}"}],
    "PATCH /stores/{store_id}": [{"name": "n"}],
    "POST /stores/{store_id}/providers": [{"provider": "sandbox", "methods": ["qr"]}],
    "PATCH /stores/{store_id}/providers/{provider}": [{"enabled": False}],
    "POST /merchants": [{"name": "n", "psp_id": "{psp}"}],
    "PATCH /merchants/{merchant_id}": [{"name": "n"}],
}
"""Bodies that are good but for whose ids they name. A route without one needs none."""

QUERIES = {
    "GET /device/provision/activationStatus": "?device_id={device}",
    "POST /settlements/{settlement_id}/statements": "?provider=sandbox",
}
ABOUT_NOBODYS = ("POST /orders", "POST /device/provision/activate", "POST /auth/device/token")
"""Routes that name no row of a tenant's."""

OPERATORS = tuple(route for route, least in LEAST.items() if least == "system_op")
LISTS = tuple(route for route in LEAST if route.startswith("GET") and "{" not in route and route not in QUERIES)
ABOUT_ONE = tuple(route for route in LEAST if route not in (*LISTS, *OPERATORS, *ABOUT_NOBODYS))


def ids_of(tag: str) -> dict[str, str]:
    """The ids of the planted rows of a tenant, and what stands for them in paths."""
    entities = ("payment", "refund", "order", "bill", "device", "settlement", "break", "letter")
    ids = {entity: f"{entity}-{tag}" for entity in entities} | TENANTS.get(
        tag, {entity: f"{entity}-{tag}" for entity in ("psp", "merchant", "store")}
    )
    places = {f"{name}_id": value for name, value in ids.items()}
    return {**ids, **places, "provider": "sandbox", "unique": uuid_utils.uuid7().hex}


def filled(value: Any, ids: dict[str, str]) -> Any:
    """``value`` with each ``{…}`` replaced."""
    return orjson.loads(_fill(orjson.dumps(value).decode(), ids))


def _fill(text: str, ids: dict[str, str]) -> str:
    for name, value in ids.items():
        text = text.replace("{" + name + "}", value)
    return text


async def ask(api: Api, route: str, tag: str, *, as_: str | None, body: dict[str, Any] | None = None) -> Answer:
    """One request to ``route`` about tenant ``tag``."""
    method, path = route.split(" ")
    ids = ids_of(tag)
    headers = {"Content-Type": "text/csv"} if route.endswith("/statements") and method == "POST" else {}
    sent: Any = b"reference\n" if headers else None if body is None else filled(body, ids)
    key = uuid_utils.uuid7().hex if method == "POST" else None
    return await api.call(method, _fill(path + QUERIES.get(route, ""), ids), sent, as_=as_, key=key, headers=headers)


def token(api: Api, role: str) -> str:
    """A token of a caller of tenant a."""
    own = Tenant("psp-a", "merchant-a", "store-a", "device-a")
    return api.signer.device(own) if role == DEVICE else api.signer.user(own, role=role)


@pytest.fixture(autouse=True)
def invented_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted rows hold any text in any column, so their answers are not compared with the document."""
    monkeypatch.setattr("tests.harness.check_exchange", lambda *_: None)


@pytest.fixture
async def planted(own_database: str) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
    """A database with rows of three tenants in every table; tenant a's device is active."""
    async with await psycopg.AsyncConnection.connect(own_database, autocommit=True, row_factory=dict_row) as admin:
        await plant(admin)
        await admin.execute("UPDATE devices SET status = 'active'")
        await admin.execute("UPDATE store_providers SET provider = 'sandbox'")
        yield admin


@pytest.fixture
async def exposed(serve: Serve, own_database: str, settings: Settings) -> AsyncIterator[Api]:
    """The API on that database."""
    async with serve(database_url=SecretStr(own_database)) as api:
        yield api
    await disconnect()
    connect(settings)  # the other tests' database again


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """The operations of the OpenAPI document, by path."""
    paths: dict[str, Any] = published_document()["paths"]
    return paths


def test_the_table_knows_every_route(documented: dict[str, Any]) -> None:
    routes = {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, methods in documented.items()
        for method in methods
        if path.startswith("/api/v1")
    }
    assert routes == set(LEAST)


@pytest.mark.parametrize("route", [route for route in LEAST if LEAST[route] != OPEN])
async def test_each_role_may_what_the_contract_says_and_no_more(api: Api, tenant: Tenant, route: str) -> None:
    unknown = await ask(api, route, "nobody", as_=None)
    assert (unknown.status, unknown.code) == (401, "AUTHENTICATION_ERROR")
    for role in ROLES:
        mine = api.signer.device(tenant) if role == DEVICE else api.signer.user(tenant, role=role)
        answer = await ask(api, route, "nobody", as_=mine)
        may = ROLES.index(role) >= ROLES.index(LEAST[route])
        assert (answer.status == 403) != may, f"{role}: {answer.raw!r}"
        assert answer.status in (200, 201, 403, 404, 422), f"{role}: {answer.raw!r}"


@pytest.mark.parametrize("wall", ["both walls", "the queries' own filter"])
async def test_another_tenants_ids_are_404_on_every_route(
    exposed: Api, planted: psycopg.AsyncConnection[dict[str, Any]], wall: str
) -> None:
    if wall != "both walls":
        tables = await planted.execute("SELECT relname FROM pg_class WHERE relrowsecurity")
        for row in await tables.fetchall():
            await planted.execute(SQL("ALTER TABLE {} DISABLE ROW LEVEL SECURITY").format(Identifier(row["relname"])))
    wrong = []
    for route in ABOUT_ONE:
        for role in ROLES[ROLES.index(LEAST[route]) : -1]:
            for body in BODIES.get(route, [None]):
                foreign = await ask(exposed, route, "b", as_=token(exposed, role), body=body)
                missing = await ask(exposed, route, "nobody", as_=token(exposed, role), body=body)
                echoed = missing.raw.replace(b"-nobody", b"-b")  # what the caller itself has sent may be said again
                if (foreign.status, foreign.raw) != (404, echoed):
                    wrong.append((role, route, body, foreign.status, foreign.raw[:200], missing.raw[:200]))
    assert not wrong, "\n".join(map(str, wrong))


async def test_those_rows_are_there_to_be_found(exposed: Api, planted: psycopg.AsyncConnection[dict[str, Any]]) -> None:
    reading = [route for route in ABOUT_ONE if route.startswith("GET")]
    for route in reading:
        own = await ask(
            exposed, route, "a", as_=token(exposed, "psp_admin" if "merchants" in route else "merchant_admin")
        )
        assert own.status != 404, route


@pytest.mark.parametrize("route", LISTS)
async def test_lists_show_nothing_of_another_tenant(
    exposed: Api, planted: psycopg.AsyncConnection[dict[str, Any]], route: str, documented: dict[str, Any]
) -> None:
    if LEAST[route] == "system_op":
        return
    method, path = route.split(" ")
    filters = {one["name"] for one in documented[f"/api/v1{path}"]["get"].get("parameters", ()) if one["in"] == "query"}
    for role in ROLES[ROLES.index(LEAST[route]) : -1]:
        for query in (
            "",
            "?store_id=store-b",
            "?device_id=device-b",
            "?merchant_id=merchant-b",
            "?payment_id=payment-b",
            "?needs_review=false",
            "?outcome_known=false",
            "?overdue=true",
            "?overdue=false",
            "?provider=sandbox",
            "?provider_reference=provider_reference-b",
            "?card_last_4=0000",
            "?amount_from=0",
        ):
            answer = await exposed.call(method, path + query, as_=token(exposed, role))
            is_filter = not query or query[1:].partition("=")[0] in filters
            assert answer.status == (200 if is_filter else 400), answer.raw
            assert b"-b" not in answer.raw, (role, query)

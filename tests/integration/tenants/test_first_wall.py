"""The first wall by itself: with row-level security off, the queries' own filter still keeps tenants apart (F35)."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from tests.conftest import Serve
from tests.factories import new_tenant
from tests.harness import Api
from tests.integration.tenants.routes import ABOUT_ONE, LISTS, ROLES
from workflows.database.engines import connect, disconnect
from workflows.settings import Settings

Admin = psycopg.AsyncConnection[DictRow]


@pytest.fixture
async def unguarded(own_database: str) -> AsyncIterator[Admin]:
    """A database of this test's own without row-level security."""
    async with await psycopg.AsyncConnection.connect(own_database, autocommit=True, row_factory=dict_row) as admin:
        tables = await admin.execute("SELECT relname FROM pg_class WHERE relrowsecurity")
        for row in await tables.fetchall():
            await admin.execute(SQL("ALTER TABLE {} DISABLE ROW LEVEL SECURITY").format(Identifier(row["relname"])))
        yield admin


@pytest.fixture
async def exposed(serve: Serve, own_database: str, settings: Settings) -> AsyncIterator[Api]:
    """The API on that database."""
    async with serve(database_url=SecretStr(own_database)) as api:
        yield api
    await disconnect()
    connect(settings)  # the other tests' database again


async def test_the_queries_own_filter_holds_alone(exposed: Api, unguarded: Admin) -> None:
    own, other = await new_tenant(unguarded), await new_tenant(unguarded)
    for role in ROLES[1:-1]:
        token = exposed.signer.user(own, role=role)
        for route in ABOUT_ONE:
            if ROLES.index(role) >= ROLES.index(route.least):
                assert (await exposed.call(*route.of(other), as_=token)).status == 404, f"{role}: {route}"
        for route in LISTS:
            if ROLES.index(role) >= ROLES.index(route.least):
                rows = (await exposed.get(route.path, as_=token)).body["data"]
                assert rows, f"{role}: {route}"
                assert {_owner(row) for row in rows} == {own.merchant_id}, f"{role}: {route}"


async def test_a_neighbour_store_is_kept_apart_alone(exposed: Api, unguarded: Admin) -> None:
    tenant = await new_tenant(unguarded)
    manager = exposed.signer.user(tenant, role="store_manager", store_id="sto_next")
    for route in ABOUT_ONE:
        if route.least == "store_manager":
            assert (await exposed.call(*route.of(tenant), as_=manager)).status == 404, str(route)
    assert (await exposed.get("/terminals", as_=manager)).body["data"] == []


def _owner(row: dict[str, str]) -> str:
    return row.get("merchant_id", row["id"])

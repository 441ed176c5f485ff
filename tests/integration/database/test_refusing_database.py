"""If the database refuses statements, requests get 503 and the readiness probe reports it.

The database is read-only after a failover, lacks a grant, or has no free connection.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow
from pydantic import SecretStr
from sqlalchemy import text

from mpac.stack.local_stack import LocalStack
from tests.conftest import WAIT_SECONDS, Serve
from tests.factories import Tenant, new_tenant
from tests.harness import Answer, Api, clone_of_template
from tests.integration.bills.bill_helpers import bill_of
from tests.integration.orders.order_helpers import open_order
from tests.polling import eventually
from workflows.database.engines import Role, transaction
from workflows.errors import ServiceUnavailable
from workflows.ids import new_id
from workflows.ops import health

Admin = psycopg.AsyncConnection[DictRow]
ORDER = {"order_type": "takeaway", "items": [{"name": "Tea", "quantity": 1, "unit_price": 300, "tax_rate": "0.08"}]}
Ask = Callable[[Api, Tenant], Awaitable[Answer]]


async def pay(api: Api, tenant: Tenant) -> Answer:
    return await api.pay(tenant)


async def order(api: Api, tenant: Tenant) -> Answer:
    return await api.post("/orders", ORDER, as_=tenant, key=new_id("order"))


async def refuse(api: Api, tenant: Tenant) -> Answer:
    return await api.pay(tenant, amount=0)


async def register(api: Api, tenant: Tenant) -> Answer:
    body = {"store_id": tenant.store_id, "serial_number": new_id("device"), "name": "T", "model": "M"}
    return await api.post("/terminals", body, as_=api.signer.user(tenant, role="store_manager"))


async def ready(api: Api, _tenant: Tenant) -> Answer:
    return await api.get("//health/ready")


WRITES: tuple[Ask, ...] = (pay, order, refuse, register)
"""A write by each database role of the API. A 422 is stored as the answer to its key."""
DONE = {200, 201, 422}


@asynccontextmanager
async def read_only(admin: Admin) -> AsyncIterator[None]:
    """Make all existing and new sessions read-only, as on a standby."""
    name = (await (await admin.execute("SELECT current_database() AS name")).fetchone() or {})["name"]
    await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
    await end_sessions(admin)
    try:
        yield
    finally:
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'.encode())


async def end_sessions(admin: Admin) -> None:
    await admin.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND application_name LIKE 'mpac_%'"""
    )


@pytest.fixture
async def own(
    stack: LocalStack, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Api, Admin, Tenant]]:
    """Yield an API with its own database, a connection as the database's owner, and a tenant."""
    monkeypatch.setattr(health, "ANSWER_WITHIN_SECONDS", WAIT_SECONDS)
    async with (
        clone_of_template(stack.urls.database) as url,
        await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=psycopg.rows.dict_row) as admin,
        serve(database_url=SecretStr(url)) as api,
    ):
        yield api, admin, await new_tenant(admin)


async def test_a_read_only_database_is_unavailable_and_its_connections_are_discarded(
    own: tuple[Api, Admin, Tenant],
) -> None:
    api, admin, tenant = own
    assert {(await ask(api, tenant)).status for ask in WRITES} <= DONE
    async with read_only(admin):
        for ask in (*WRITES, ready):
            answer = await ask(api, tenant)
            assert (answer.status, answer.code) == (503, "SERVICE_UNAVAILABLE"), ask.__name__
            assert "Retry-After" in answer.headers
        assert (await api.get("/payments", as_=tenant)).status == 200  # reads still work
    # The first write in a session that began read-only discards it, so the process needs no restart.
    for _ in ("accept", "caller"):
        statuses = [(await ask(api, tenant)).status for ask in (*WRITES, ready)]
    assert set(statuses) <= DONE


@pytest.mark.parametrize(
    ("grant", "asked"),
    [
        ("INSERT ON payments", (pay, ready)),
        ("INSERT ON idempotency_records", (pay, order, ready)),
        ("SELECT ON stores", (pay, order, ready)),
        ("INSERT ON orders", (order,)),
    ],
    ids=("INSERT ON payments", "INSERT ON idempotency_records", "SELECT ON stores", "INSERT ON orders"),
)
async def test_a_missing_grant_is_unavailable(
    own: tuple[Api, Admin, Tenant], grant: str, asked: tuple[Ask, ...], caplog: pytest.LogCaptureFixture
) -> None:
    api, admin, tenant = own
    assert {(await ask(api, tenant)).status for ask in asked} <= DONE
    privilege, _, table = grant.partition(" ON ")
    # A month's own table has its own grants, because hot statements name it.
    parts = await (await admin.execute("SELECT relid::text AS name FROM pg_partition_tree(%s)", [table])).fetchall()
    tables = ", ".join([table, *(part["name"] for part in parts)])
    await admin.execute(f"REVOKE {privilege} ON {tables} FROM mpac_accept".encode())
    for ask in asked:
        answer = await ask(api, tenant)
        assert (answer.status, answer.code) == (503, "SERVICE_UNAVAILABLE"), ask.__name__
    assert "42501" in caplog.text
    await admin.execute(f"GRANT {privilege} ON {tables} TO mpac_accept".encode())
    for ask in asked:
        assert (await ask(api, tenant)).status in DONE, ask.__name__


async def test_no_request_fails_when_the_server_ends_all_sessions(own: tuple[Api, Admin, Tenant]) -> None:
    api, admin, tenant = own
    for _ in range(5):
        assert {(await ask(api, tenant)).status for ask in (*WRITES, ready)} <= DONE

        async def sessions() -> int:
            # The API writes its totals every few seconds, so it can begin a session while the others end.
            await end_sessions(admin)
            rows = await admin.execute(
                """SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()
                   AND application_name IN ('mpac_accept', 'mpac_caller')"""
            )
            return int((await rows.fetchone() or {})["n"])

        await eventually(sessions, until=lambda number: number == 0)


async def test_a_readiness_probe_leaves_no_row(own: tuple[Api, Admin, Tenant]) -> None:
    api, admin, tenant = own
    for _ in range(3):
        assert (await ready(api, tenant)).status == 200
    rows = await (await admin.execute("SELECT count(*) AS n FROM idempotency_records")).fetchall()
    assert rows == [{"n": 0}]
    spilled = "SELECT temp_files AS n FROM pg_stat_database WHERE datname = current_database()"

    async def files() -> int:
        return int((await (await admin.execute(spilled)).fetchone() or {})["n"])

    # The probe did write: a session sends its statistics when it is idle for a moment, or ends.
    await end_sessions(admin)
    await eventually(files, until=lambda number: number >= 3)


async def test_a_statement_whose_plan_a_migration_invalidated_is_retried(own: tuple[Api, Admin, Tenant]) -> None:
    api, admin, tenant = own
    bill = await bill_of(api, tenant, (await open_order(api, tenant))["id"])

    async def pay_a_share() -> int:
        return (await api.pay(tenant, amount=1, bill_id=bill["id"])).status

    assert {await pay_a_share() for _ in range(12)} == {201}  # the driver prepares statements that it sends often
    await admin.execute("ALTER TABLE bills ADD COLUMN noted text")
    statuses = [await pay_a_share() for _ in range(3)]
    assert set(statuses) <= {201, 503}
    assert statuses[-1] == 201


async def write_read_only(role: Role, pids: set[int], *, by_driver: bool) -> None:
    """Write in a read-only transaction, which is refused; add the session's pid to ``pids``."""
    write = "UPDATE payments SET version = version WHERE false"
    async with transaction(role) as connection:
        pids.add((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())
        await connection.execute(text("SET TRANSACTION READ ONLY"))
        if by_driver:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.execute(write)
        else:
            await connection.execute(text(write))


@pytest.mark.parametrize("by_driver", [False, True], ids=["statement", "driver"])
@pytest.mark.parametrize("role", Role, ids=str)
async def test_every_role_is_refused_alike_and_gets_another_connection(
    engines: None, role: Role, by_driver: bool
) -> None:
    pids: set[int] = set()
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            await write_read_only(role, pids, by_driver=by_driver)
    assert len(pids) == 2


async def test_a_flood_of_probes_takes_one_connection(
    api: Api, tenant: Tenant, admin: Admin, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ANSWER_WITHIN_SECONDS", 0.5)
    waiting = (
        b"SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as holder:
        await holder.execute(b"LOCK TABLE idempotency_records IN EXCLUSIVE MODE")
        answers = await asyncio.gather(*(ready(api, tenant) for _ in range(30)))
        found: Any = await (await admin.execute(waiting)).fetchone()
        assert ({answer.status for answer in answers}, found["n"] <= 1) == ({503}, True), found
        payment = await api.get("/payments", as_=tenant)
        await holder.rollback()
    assert payment.status == 200
    await eventually(lambda: ready(api, tenant), until=lambda answer: answer.status == 200)

"""While the database is frozen, requests are answered before their timeout; afterwards everything continues."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.rows import DictRow

from mpac.stack.local_stack import LocalStack
from tests.conftest import Serve
from tests.factories import Tenant
from tests.harness import Api
from tests.polling import DEADLINE_SECONDS, eventually
from workflows.ids import new_id

BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'mpac_accept' AND datname = current_database()"
COUNTED = "SELECT count(*) AS payments FROM payments WHERE store_id = %s"
ORDER = {"order_type": "takeaway", "items": [{"name": "Tea", "quantity": 1, "unit_price": 300, "tax_rate": "0.08"}]}


@asynccontextmanager
async def frozen(stack: LocalStack, admin: psycopg.AsyncConnection[DictRow]) -> AsyncIterator[None]:
    """Freeze PostgreSQL: it accepts no connection, and the ``mpac_accept`` sessions do not answer."""
    backends = [row["pid"] for row in await (await admin.execute(BACKENDS)).fetchall()]
    assert backends
    stopped = [*backends, stack.pids["postgres"]]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


async def test_readiness_reports_a_frozen_database_in_time(
    serve: Serve, tenant: Tenant, stack: LocalStack, admin: psycopg.AsyncConnection[DictRow]
) -> None:
    async with serve() as api:
        assert (await api.pay(tenant)).status == 201
        async with frozen(stack, admin):
            answer = await asyncio.wait_for(api.get("//health/ready"), DEADLINE_SECONDS)
            assert (answer.status, answer.code) == (503, "SERVICE_UNAVAILABLE")
            assert (await api.get("//health/live")).status == 200
        assert (await api.get("//health/ready")).status == 200
        assert (await api.pay(tenant)).status == 201


async def test_posts_to_a_frozen_database_are_refused_in_time_and_made_once_when_repeated(
    serve: Serve, tenant: Tenant, stack: LocalStack, admin: psycopg.AsyncConnection[DictRow]
) -> None:
    keys = [new_id("payment") for _ in range(12)]

    async def pay_all(api: Api) -> list[int]:
        answers = await asyncio.gather(*(api.pay(tenant, key=key, client_reference=key) for key in keys))
        return [answer.status for answer in answers]

    async with serve(statement_timeout_ms=1_000) as api:
        assert (await api.pay(tenant)).status == 201
        async with frozen(stack, admin), asyncio.timeout(30):  # these requests once waited without limit
            paid, ordered = await asyncio.gather(
                pay_all(api), api.post("/orders", ORDER, as_=tenant, key=new_id("order"))
            )
        assert {*paid, ordered.status} == {503}
        # Repeat the request, as callers do after a 503, until the database has caught up.
        await eventually(lambda: pay_all(api), until=lambda statuses: statuses == [201] * len(keys))
    rows = await (await admin.execute(COUNTED, [tenant.store_id])).fetchall()
    assert rows == [{"payments": 1 + len(keys)}]

"""Long calls use separate connections, so ten of them delay no terminal."""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mpac.stack.local_stack import LocalStack
from tests.conftest import WAIT_SECONDS
from tests.factories import PaymentMaker, Tenant
from tests.harness import Answer, Api
from tests.integration.bills.bill_helpers import bill_of
from tests.integration.orders.order_helpers import open_order
from tests.integration.refunds.refund_helpers import post_refund
from tests.polling import eventually
from tests.reconciliation_helpers import closed_settlement, open_settlement, some_sales
from workflows.database.engines import Role, _engines, transaction
from workflows.errors import ServiceUnavailable
from workflows.ids import new_id
from workflows.ops import health
from workflows.payments.states import PaymentStatus
from workflows.settings import Settings

Admin = psycopg.AsyncConnection[DictRow]
TEN = 12


@dataclass(frozen=True)
class Long:
    """A call that lasts until ``held`` is released."""

    method: str
    path: str
    held: str
    body: bytes | None = None
    is_of_open: bool = False


LINES, ENTRIES = (
    "LOCK TABLE settlement_lines IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE ledger_entries IN ACCESS EXCLUSIVE MODE",
)
SETTLEMENT = "SELECT 1 FROM settlements WHERE id = '{id}' FOR UPDATE"
STATEMENTS = "SELECT pg_advisory_xact_lock(hashtextextended('statements of {id}', 0))"
LONG = {
    "export as CSV": Long("GET", "/settlements/{id}/export.csv", LINES),
    "export as JSON": Long("GET", "/settlements/{id}/export.json", LINES),
    "report": Long("GET", "/settlements/{id}/report", LINES),
    "report as PDF": Long("GET", "/settlements/{id}/report.pdf", LINES),
    "reconcile": Long("POST", "/settlements/{id}/reconcile", "LOCK TABLE breaks IN ACCESS EXCLUSIVE MODE"),
    "statement": Long("POST", "/settlements/{id}/statements?provider=sandbox", STATEMENTS, b"kind\n"),
    "close": Long("POST", "/settlements/{id}/close", SETTLEMENT, is_of_open=True),
    "balances": Long("GET", "/ledger/accounts", ENTRIES),
    "figures so far": Long("GET", "/settlements/{id}", LINES, is_of_open=True),
}


async def tills(api: Api, tenant: Tenant, payments: PaymentMaker, paid: list[str]) -> list[Answer]:
    """Send one request of each kind that terminals send, and return the answers."""
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    payment = await api.pay(tenant, amount=10, bill_id=bill["id"])
    return [
        payment,
        await api.get(f"/payments/{payment.body['id']}", as_=tenant),
        await api.get("/payments?client_reference=none", as_=tenant),
        await post_refund(api, tenant, paid.pop(), amount=1),
        await api.get("//health/ready"),
    ]


@pytest.mark.parametrize("name", LONG)
async def test_terminals_do_not_wait_for_long_calls(
    api: Api, admin: Admin, stack: LocalStack, payments: PaymentMaker, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(health, "ANSWER_WITHIN_SECONDS", WAIT_SECONDS)
    tenant, long = payments.tenant, LONG[name]
    paid = [await payments.in_status(PaymentStatus.COMPLETED)]
    of_open = (await open_settlement(admin, tenant))["id"]
    settlement_id = of_open if long.is_of_open else await closed_settlement(admin, tenant, some_sales(3))
    manager = api.signer.user(tenant, role="merchant_admin")
    headers = {"Content-Type": "text/csv"} if long.body else {}

    def ask() -> Awaitable[Answer]:
        path = long.path.format(id=settlement_id)
        key = new_id("request") if long.body else None
        return api.call(long.method, path, long.body, as_=manager, key=key, headers=headers)

    async with await psycopg.AsyncConnection.connect(stack.urls.database) as holder:
        await holder.execute(long.held.format(id=settlement_id).encode())
        asked = [asyncio.ensure_future(ask()) for _ in range(TEN)]
        await eventually(lambda: waiting(admin), until=lambda number: number >= 3)
        async with asyncio.timeout(WAIT_SECONDS * 3 / 4):  # with a shared pool they would wait for the whole timeout
            answers = await tills(api, tenant, payments, paid)
        assert {answer.status for answer in answers} <= {200, 201}, [answer.body for answer in answers]
        await holder.rollback()
    statuses = {answer.status for answer in await asyncio.gather(*asked)}
    assert statuses <= {200, 201, 409, 422}, statuses


async def waiting(admin: Admin) -> int:
    rows: Any = await (
        await admin.execute("SELECT count(DISTINCT pid) AS n FROM pg_locks WHERE NOT granted")
    ).fetchone()
    return int(rows["n"])


async def test_a_call_that_gets_no_connection_in_time_is_told_to_retry(
    engines: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_engines.long[Role.WORKER].pool, "_timeout", 0.05)
    async with AsyncExitStack() as held:
        for _ in range(settings.long_calls):
            await held.enter_async_context(transaction(Role.WORKER, is_long=True))
        with pytest.raises(ServiceUnavailable):
            await held.enter_async_context(transaction(Role.WORKER, is_long=True))


async def backend_of(connection: AsyncConnection) -> int:
    return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def copy_into_a_missing_table(backends: list[int]) -> None:
    async with transaction(Role.WORKER, is_long=True) as connection:
        backends.append(await backend_of(connection))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute("COPY no_such_table FROM STDIN")


async def test_an_error_of_the_driver_that_is_our_own_fault_is_raised_and_keeps_its_connection(engines: None) -> None:
    backends: list[int] = []
    with pytest.raises(psycopg.errors.UndefinedTable):
        await copy_into_a_missing_table(backends)
    async with transaction(Role.WORKER, is_long=True) as connection:
        assert [await backend_of(connection)] == backends

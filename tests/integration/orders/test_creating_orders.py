"""Two processes create orders concurrently; these tests call the use-case without HTTP."""

import asyncio
from decimal import Decimal

import psycopg
from psycopg.rows import DictRow

from mpac.stack.local_stack import LocalStack
from tests.factories import Tenant, build_key
from tests.polling import eventually
from workflows.ids import new_id
from workflows.orders.create import Creation, OrderIntake, OrderRequest
from workflows.orders.totals import OrderLine, TaxRounding

Admin = psycopg.AsyncConnection[DictRow]
REQUEST = OrderRequest("takeaway", (OrderLine("Tea", 1, 300, Decimal("0.08")),), is_submitted=True)


def creation(tenant: Tenant, key: str) -> Creation:
    return Creation(REQUEST, tenant.device, build_key(tenant.device, "/orders", value=key), new_id("request"))


async def test_two_processes_with_the_same_key_create_one_order(tenant: Tenant, engines: None, admin: Admin) -> None:
    processes = [OrderIntake(tax_rounding=TaxRounding.HALF_UP, timeout_seconds=30) for _ in range(4)]
    answers = await asyncio.gather(
        *(
            process.create_order(creation(tenant, key))
            for process in processes
            for key in ["one", "two", f"own-{id(process)}"]
        )
    )
    assert len({answer.body for answer in answers}) == 6  # two answers that all share, and one from each process
    rows = await admin.execute(
        "SELECT order_number FROM orders WHERE store_id = %s ORDER BY order_number", [tenant.store_id]
    )
    numbers = [row["order_number"] for row in await rows.fetchall()]
    assert [number.partition("-")[2] for number in numbers] == [f"{number:04d}" for number in range(1, 7)]
    histories = await admin.execute(
        """SELECT count(*) AS n FROM orders o WHERE store_id = %s AND version <>
           (SELECT count(*) FROM order_history h WHERE h.order_id = o.id)""",
        [tenant.store_id],
    )
    assert await histories.fetchone() == {"n": 0}


WAITING = b"""
    SELECT count(*) AS n FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%number_counters%'
"""


async def test_request_that_lost_its_key_meanwhile_finds_the_other_order(
    tenant: Tenant, engines: None, admin: Admin, stack: LocalStack
) -> None:
    """All requests have looked for the key and wait for a number.

    The first request uses the key; the others are rolled back.
    """
    processes = [OrderIntake(tax_rounding=TaxRounding.HALF_UP, timeout_seconds=30) for _ in range(4)]
    await processes[0].create_order(creation(tenant, "the first of the day"))
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute("SELECT FROM number_counters WHERE store_id = %s FOR UPDATE", [tenant.store_id])
        asked = [asyncio.ensure_future(process.create_order(creation(tenant, "one"))) for process in processes]

        async def waiting() -> int:
            row = await (await admin.execute(WAITING)).fetchone()
            return int(row["n"]) if row else 0

        await eventually(waiting, until=lambda count: count == len(processes))
    answers = await asyncio.gather(*asked)
    assert len({answer.body for answer in answers}) == 1
    assert sorted(answer.is_replay for answer in answers) == [False, True, True, True]
    rows = await admin.execute(
        "SELECT right(order_number, 4) AS number FROM orders WHERE store_id = %s ORDER BY id", [tenant.store_id]
    )
    assert [row["number"] for row in await rows.fetchall()] == ["0001", "0002"]

"""Creating orders below HTTP: what two processes do to each other."""

import asyncio
from decimal import Decimal

import psycopg
from psycopg.rows import DictRow

from tests.factories import SECRET, Tenant
from workflows.idempotency import Key, fingerprint
from workflows.ids import new_id
from workflows.orders.create import Creation, Ordering, OrderRequest
from workflows.orders.totals import Line, TaxRounding

Admin = psycopg.AsyncConnection[DictRow]
REQUEST = OrderRequest("takeaway", (Line("Tea", 1, 300, Decimal("0.08")),), is_submitted=True)


def creation(tenant: Tenant, key: str) -> Creation:
    identity = Key(key, "POST", "/api/v1/orders", fingerprint(b"{}", secret=SECRET))
    return Creation(REQUEST, tenant.device, identity, new_id("request"))


async def test_two_processes_with_one_key_make_one_order(tenant: Tenant, engines: None, admin: Admin) -> None:
    processes = [Ordering(tax_rounding=TaxRounding.HALF_UP) for _ in range(4)]
    answers = await asyncio.gather(
        *(
            process.create_order(creation(tenant, key))
            for process in processes
            for key in ["one", "two", f"own-{id(process)}"]
        )
    )
    assert len({answer.body for answer in answers}) == 6  # two that all share, and one of each process
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

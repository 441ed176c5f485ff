"""Concurrent corrections in two currencies do not deadlock."""

import asyncio

import psycopg

from tests.integration.settlements.back_office import BackOffice, statement_line_of
from tests.integration.settlements.test_corrections_and_known_money import rows
from tests.polling import eventually
from tests.reconciliation_helpers import upload
from workflows.ids import new_id
from workflows.settlements.close import close_manually
from workflows.settlements.open_periods import open_due_periods

WAITING = "SELECT DISTINCT pid FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"


async def test_concurrent_corrections_in_the_same_two_currencies_do_not_deadlock(back_office: BackOffice) -> None:
    shop = back_office.shop
    await shop.sell(1_000)
    await shop.sell(500, currency="USD")
    await open_due_periods(worker="worker-of-the-test")
    breaks = []
    for currency, told in (("JPY", "USD"), ("USD", "JPY")):
        settlement_id = (await shop.running(currency))["id"]
        await close_manually(settlement_id, caller=shop.manager, request_id=new_id("request"))
        (line,) = (await shop.lines(settlement_id)).values()
        await upload(shop.tenant, settlement_id, [statement_line_of(line, currency=told)])
        await back_office.run(settlement_id)
        (found,) = await back_office.breaks(settlement_id)
        assert found["category"] == "currency_mismatch"
        breaks.append(found["id"])
    async with await psycopg.AsyncConnection.connect(shop.admin.info.dsn, password=shop.admin.info.password) as other:
        running = "SELECT FROM settlements WHERE store_id = %s AND status = 'open' FOR UPDATE"
        await other.execute(running, [shop.tenant.store_id])
        waiting = [asyncio.create_task(back_office.resolve(one, resolution="adjust")) for one in breaks]
        await eventually(lambda: rows(shop, WAITING), until=lambda found: len(found) >= len(breaks), within=60)
        await other.rollback()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200]

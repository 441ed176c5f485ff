"""An override that is concurrent with a close changes the period that the close opened."""

import asyncio
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg

from tests.integration.settlements.settlement_helpers import SettlementShop
from tests.polling import eventually
from workflows.ids import new_id
from workflows.settlements.close import close_manually
from workflows.settlements.open_periods import open_due_periods
from workflows.settlements.override import OverrideRequest, override_day

WAITING = b"SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def test_an_override_that_waited_for_a_close_moves_the_end_of_the_period_after_it(shop: SettlementShop) -> None:
    await open_due_periods(worker="worker-of-the-test")
    running = await shop.running()
    zone = ZoneInfo(running["time_zone"])
    later = running["end_at"].astimezone(zone).replace(tzinfo=None) + timedelta(hours=3)
    request = OverrideRequest(running["business_date"], later)

    async def waiting() -> int:
        row = await (await shop.admin.execute(WAITING)).fetchone()
        assert row is not None
        return int(row["n"])

    async with await psycopg.AsyncConnection.connect(shop.admin.info.dsn, password=shop.admin.info.password) as other:
        await other.execute("SELECT FROM settlements WHERE id = %s FOR UPDATE", [running["id"]])
        closing = asyncio.create_task(close_manually(running["id"], caller=shop.manager, request_id=new_id("request")))
        await eventually(waiting, until=lambda n: n >= 1, within=60)
        overriding = asyncio.create_task(override_day(shop.tenant.store_id, request, caller=shop.manager))
        await eventually(waiting, until=lambda n: n >= 2, within=60)
        await other.rollback()
    await asyncio.gather(closing, overriding)
    after = await shop.running()
    assert after["id"] != running["id"]
    assert after["end_at"] == datetime.combine(later.date(), later.time(), zone)

"""PostgreSQL and Python compute the same dates in every store's time zone, and an invalid zone can be changed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.reconciliation.reconciliation_helpers import reconcile
from tests.integration.settlements.settlement_helpers import SettlementShop
from tests.reconciliation_helpers import closed_settlement, mirror, some_sales, upload
from workflows.settlements.open_periods import open_due_periods
from workflows.time_zones import REACH, offered_zones, sql_zone, zone

TRICKY = {"Africa/Casablanca", "Asia/Gaza", "America/Nuuk", "Australia/Lord_Howe", "America/St_Johns", "Africa/Cairo"}


@pytest.mark.parametrize("near", ["2026-01-15", "2026-04-20", "2026-07-01", "2026-11-30", "2030-12-31"])
async def test_postgresql_computes_the_local_times_that_python_does(shop: SettlementShop, near: str) -> None:
    at = datetime.fromisoformat(near).replace(tzinfo=UTC)
    wrong = []
    for name in sorted(offered_zones()):
        rules = sql_zone(name, near=at)
        if rules.startswith("<LMT>"):
            continue  # its rules change within days, and those in force at ``near`` are used
        moments = [at + step * timedelta(hours=7) for step in range(-(REACH // timedelta(hours=7)), 50)]
        found = await shop.admin.execute(
            "SELECT m AT TIME ZONE %s AS local FROM unnest(%s::timestamptz[]) AS m ORDER BY m", [rules, moments]
        )
        theirs = [row["local"] async for row in found]
        wrong += [name] * (theirs != [moment.astimezone(zone(name)).replace(tzinfo=None) for moment in moments])
    assert wrong == []


async def test_a_zone_whose_rules_change_soon_has_the_offset_of_the_day(shop: SettlementShop) -> None:
    for name in sorted(TRICKY):
        at = datetime(2026, 3, 30, 12, tzinfo=UTC)
        found = await shop.admin.execute("SELECT %s AT TIME ZONE %s AS local", [at, sql_zone(name, near=at)])
        row = await found.fetchone()
        assert row is not None
        assert row["local"] == at.astimezone(zone(name)).replace(tzinfo=None), name


BAD = ["localtime", "Factory", "posixrules", "right/UTC", "posix/UTC", "utc", "Asia/tokyo", "../UTC", "leapseconds"]


@pytest.mark.parametrize("name", [*BAD, "tzdata.zi", "Etc/GMT+15", "EST5EDT4", "Asia/Tokyo ", "Mars/Olympus", "+09:00"])
async def test_a_time_zone_without_a_place_is_refused_for_stores(api: Api, tenant: Tenant, name: str) -> None:
    admin = api.signer.user(tenant, role="merchant_admin")
    made = await api.post("/stores", {"name": "x", "time_zone": name}, as_=admin)
    changed = await api.call("PATCH", f"/stores/{tenant.store_id}", {"time_zone": name}, as_=admin)
    assert [(answer.status, answer.details[0]["field"]) for answer in (made, changed)] == [(422, "time_zone")] * 2


@pytest.mark.parametrize("name", ["localtime", "Factory"])
async def test_a_store_with_a_time_zone_without_a_place_is_reconciled_and_can_be_changed(
    api: Api, admin: Any, tenant: Tenant, name: str
) -> None:
    await admin.execute("UPDATE stores SET time_zone = %s WHERE id = %s", [name, tenant.store_id])
    sales = some_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(line) for line in sales])
    run = await reconcile(api, tenant, settlement_id)
    assert (run.status, run.body["summary"]["categories"]["matched"]["count"]) == (200, 3)
    mended = await api.call(
        "PATCH",
        f"/stores/{tenant.store_id}",
        {"time_zone": "Europe/Belgrade"},
        as_=api.signer.user(tenant, role="merchant_admin"),
    )
    assert (mended.status, mended.body["time_zone"]) == (200, "Europe/Belgrade")
    await open_due_periods(worker="worker-of-the-test")
    found = await admin.execute(
        "SELECT time_zone FROM settlements WHERE store_id = %s AND status = 'open'", [tenant.store_id]
    )
    assert (await found.fetchone())["time_zone"] == "Europe/Belgrade"

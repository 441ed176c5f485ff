"""Numbers of orders and bills are unique in a store and have no gap within a day, even after rollbacks."""

import asyncio
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.bills.bill_helpers import bill_of, split
from tests.integration.orders.order_helpers import open_order, post_order
from workflows.database.engines import Role, transaction
from workflows.errors import ServiceUnavailable
from workflows.numbering import NumberKind, StoreDay, allocate_numbers

Admin = psycopg.AsyncConnection[DictRow]
TODAY = date(2026, 11, 23)


class Undone(Exception):
    """The failure of a transaction after it has taken a number."""


async def taken(
    day: StoreDay, count: int = 1, *, kind: NumberKind = NumberKind.ORDER, then: type[Exception] | None = None
) -> list[str]:
    async with transaction(Role.ACCEPT) as connection:
        numbers = await allocate_numbers(connection, kind, [day] * count)
        if then:
            raise then
    return numbers


async def test_number_of_a_rolled_back_order_goes_to_the_next_order(tenant: Tenant) -> None:
    day = StoreDay(tenant.store_id, TODAY, tenant.merchant_id)
    assert await taken(day) == ["20261123-0001"]
    with pytest.raises(Undone):
        await taken(day, 5, then=Undone)
    assert await taken(day, 2) == ["20261123-0002", "20261123-0003"]


async def test_a_rolled_back_order_among_concurrent_orders_leaves_no_gap(tenant: Tenant) -> None:
    day = StoreDay(tenant.store_id, TODAY, tenant.merchant_id)
    results = await asyncio.gather(
        *(taken(day, 1 + number % 3, then=Undone if number % 4 == 0 else None) for number in range(40)),
        return_exceptions=True,
    )
    numbers = sorted(number for result in results if not isinstance(result, BaseException) for number in result)
    assert sum(isinstance(result, Undone) for result in results) == 10
    assert numbers == [f"20261123-{number:04d}" for number in range(1, len(numbers) + 1)]


async def test_each_store_day_and_kind_has_a_separate_number_sequence(tenant: Tenant, make_tenant: Any) -> None:
    other = await make_tenant()
    days = [
        StoreDay(tenant.store_id, TODAY, tenant.merchant_id),
        StoreDay(tenant.store_id, TODAY + timedelta(days=1), tenant.merchant_id),
        StoreDay(other.store_id, TODAY, other.merchant_id),
    ]
    for _ in range(2):
        for day in days:
            await taken(day)
    assert [await taken(day) for day in days] == [["20261123-0003"], ["20261124-0003"], ["20261123-0003"]]
    assert await taken(days[0], kind=NumberKind.BILL) == ["20261123-0001"]


async def test_numbers_above_9999_have_five_digits(tenant: Tenant) -> None:
    day = StoreDay(tenant.store_id, TODAY, tenant.merchant_id)
    assert (await taken(day, 10_000))[-1] == "20261123-10000"
    assert await taken(day) == ["20261123-10001"]


async def test_orders_that_fail_at_the_database_leave_no_gap(api: Api, tenant: Tenant, admin: Admin) -> None:
    """The transaction's last statement fails after the number was taken, and everything is rolled back."""
    first = await open_order(api, tenant)
    await admin.execute(
        f"""CREATE FUNCTION refuse_key() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '57014'; END $$;
            CREATE TRIGGER refuse_key BEFORE INSERT ON idempotency_records FOR EACH ROW
            WHEN (NEW.merchant_id = '{tenant.merchant_id}') EXECUTE FUNCTION refuse_key()""".encode()
    )
    try:
        failed = await post_order(api, tenant)
    finally:
        await admin.execute("DROP TRIGGER refuse_key ON idempotency_records; DROP FUNCTION refuse_key()")
    assert (failed.status, failed.code) == (503, ServiceUnavailable.code)
    second = await open_order(api, tenant)
    day = first["order_number"].partition("-")[0]
    assert [first["order_number"], second["order_number"]] == [f"{day}-0001", f"{day}-0002"]
    assert len((await api.get("/orders", as_=tenant)).body["data"]) == 2


async def test_order_is_numbered_by_the_business_day_of_its_stores_cut_off(
    api: Api, tenant: Tenant, admin: Admin
) -> None:
    async def number_at(cut_off: str, zone: str) -> str:
        await admin.execute(
            "UPDATE stores SET cut_off = %s, time_zone = %s WHERE id = %s", [cut_off, zone, tenant.store_id]
        )
        number: str = (await open_order(api, tenant))["order_number"]
        return number.partition("-")[0]

    rows = await admin.execute(
        """SELECT to_char(now() AT TIME ZONE 'Pacific/Kiritimati', 'YYYYMMDD') AS east,
                  to_char(now() AT TIME ZONE 'Pacific/Niue', 'YYYYMMDD') AS west,
                  to_char(now() AT TIME ZONE 'Asia/Tokyo' + interval '1 hour', 'HH24:MI') AS later,
                  to_char(now() AT TIME ZONE 'Asia/Tokyo' + interval '1 hour' - interval '1 day', 'YYYYMMDD') AS evening"""
    )
    clock = await rows.fetchone()
    assert clock
    assert await number_at("00:00", "Pacific/Kiritimati") == clock["east"]
    assert await number_at("00:00", "Pacific/Niue") == clock["west"]
    assert await number_at(clock["later"], "Asia/Tokyo") == clock["evening"]


async def test_parts_of_bills_split_concurrently_are_numbered_without_a_gap(api: Api, tenant: Tenant) -> None:
    bills = [await bill_of(api, tenant, (await open_order(api, tenant))["id"]) for _ in range(6)]
    answers = await asyncio.gather(*(split(api, tenant, bill["id"], parts=3) for bill in bills))
    numbers = [bill["bill_number"] for bill in bills]
    numbers += [part["bill_number"] for answer in answers for part in answer.body["data"]]
    day = numbers[0].partition("-")[0]
    assert sorted(numbers) == [f"{day}-{number:04d}" for number in range(1, 25)]

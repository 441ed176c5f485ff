"""A line that stands in several files is the same money: it is booked for one settlement only."""

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tests.integration.settlements.desk import BOOKED, Desk, said_of
from tests.integration.settlements.test_corrections_and_known_money import rows, upload_external
from tests.integration.settlements.test_corrections_in_two_currencies import WAITING
from tests.reconciling import upload
from tests.reference_matcher import Theirs
from tests.waiting import eventually
from workflows.clock import now

UNKNOWN = Theirs("payment", None, "PP-7788", 9_999, 0)
LINES = {
    "payment": UNKNOWN,
    "refund": replace(UNKNOWN, kind="refund", amount=-500),
    "reversal": replace(UNKNOWN, kind="reversal", amount=-500),
    "other currency": replace(UNKNOWN, currency="USD"),
    "their own order": replace(UNKNOWN, our_reference="order 7", provider_reference=None),
}


async def days(desk: Desk, *told: Theirs, provider: str = "sandbox", links: bool = True) -> list[dict[str, Any]]:
    """Two days with a sale each, compared with one file of both, and ``told`` behind; the breaks of ``told``.

    ``links``: the lines about the other day's sale are linked to it.
    """
    settlements, lines = [], []
    for amount in (1_000, 2_000):
        await desk.shop.sell(amount)
        settlements.append((await desk.shop.close_now())["id"])
        lines += [said_of(line) for line in (await desk.shop.lines(settlements[-1])).values()]
    found = []
    for place, settlement_id in enumerate(settlements):
        own = told[place] if len(told) > 1 else told[0]
        if provider == "external":
            await upload(desk.shop.tenant, settlement_id, lines)
            await upload_external(desk.shop, settlement_id, [own])
        else:
            await upload(desk.shop.tenant, settlement_id, [*lines, own])
        await desk.run(settlement_id)
        for one in await desk.breaks(settlement_id):
            if one["category"] != "date_mismatch":
                found.append(one)
            elif links:
                quoted = one["our_reference"].partition(":")[0]
                assert (await desk.resolve(one["id"], resolution="link", reference=quoted)).status == 200
    return found


@pytest.mark.parametrize("booked", BOOKED, ids=["adjust", "write_off"])
@pytest.mark.parametrize("line", LINES)
async def test_an_unknown_line_of_a_file_for_two_days_is_booked_once(
    desk: Desk, line: str, booked: dict[str, Any]
) -> None:
    told = LINES[line]
    first, second = await days(desk, told)
    assert (await desk.resolve(first["id"], resolution="adjust")).status == 200
    refused = await desk.resolve(second["id"], **booked)
    assert refused.status == 409
    assert f"booked for {first['settlement_id']} ({first['id']})" in refused.details[0]["issue"]
    assert await desk.held(told.currency) == told.amount + (3_000 if told.currency == "JPY" else 0)
    assert (await desk.resolve(second["id"], resolution="ignore", note="booked for the day before")).status == 200
    assert await desk.status(second["settlement_id"]) == "reconciled"


async def test_a_line_whose_correction_was_booked_back_is_booked_where_it_is_told(desk: Desk) -> None:
    first, second = await days(desk, UNKNOWN, links=False)
    assert (await desk.resolve(first["id"], resolution="adjust")).status == 200
    own = (await desk.shop.lines(first["settlement_id"])).values()
    await upload(desk.shop.tenant, first["settlement_id"], map(said_of, own))
    assert (await desk.run(first["settlement_id"]))["status"] == "reconciled"
    assert await desk.held() == 3_000
    assert (await desk.resolve(second["id"], resolution="adjust")).status == 200
    assert await desk.held() == 3_000 + 9_999


async def test_two_corrections_of_one_line_at_once_are_one(desk: Desk) -> None:
    shop = desk.shop
    both = await days(desk, UNKNOWN)
    async with await psycopg.AsyncConnection.connect(shop.admin.info.dsn, password=shop.admin.info.password) as other:
        running = "SELECT FROM settlements WHERE store_id = %s AND status = 'open' FOR UPDATE"
        await other.execute(running, [shop.tenant.store_id])
        waiting = [asyncio.create_task(desk.resolve(one["id"], resolution="adjust")) for one in both]
        await eventually(lambda: rows(shop, WAITING), until=bool, within=60)
        await other.rollback()
    assert sorted([answer.status for answer in await asyncio.gather(*waiting)]) == [200, 409]
    assert await desk.held() == 3_000 + 9_999


async def test_a_slip_number_of_two_days_is_two_sales_if_the_lines_say_so(desk: Desk) -> None:
    at = now().replace(microsecond=0)
    slip = replace(UNKNOWN, provider="external", provider_reference="00017", at=at)
    first, second = await days(desk, slip, replace(slip, at=at.replace(year=at.year - 1)), provider="external")
    for one in (first, second):
        assert (await desk.resolve(one["id"], resolution="adjust")).status == 200
    assert await desk.held() == 3_000 + 2 * 9_999


async def test_a_slip_of_a_file_for_two_days_is_booked_once(desk: Desk) -> None:
    slip = replace(UNKNOWN, provider="external", provider_reference="00017", at=now().replace(microsecond=0))
    first, second = await days(desk, slip, provider="external")
    assert (await desk.resolve(first["id"], resolution="adjust")).status == 200
    assert (await desk.resolve(second["id"], resolution="adjust")).status == 409
    assert (await desk.resolve(second["id"], resolution="ignore", note="booked for the day before")).status == 200

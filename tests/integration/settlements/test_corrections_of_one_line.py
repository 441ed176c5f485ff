"""A line that occurs in several files is the same money, and is booked for one settlement only."""

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tests.integration.settlements.back_office import BOOKED, WORKER, BackOffice, statement_line_of
from tests.integration.settlements.test_corrections_and_known_money import rows, upload_external
from tests.integration.settlements.test_corrections_in_two_currencies import WAITING
from tests.polling import eventually
from tests.reconciliation_helpers import upload
from tests.reference_matcher import Theirs
from workflows.clock import now
from workflows.reconciliation.reconcile import reconcile_settlement

UNKNOWN = Theirs("payment", None, "PP-7788", 9_999, 0)
LINES = {
    "payment": UNKNOWN,
    "refund": replace(UNKNOWN, kind="refund", amount=-500),
    "reversal": replace(UNKNOWN, kind="reversal", amount=-500),
    "other currency": replace(UNKNOWN, currency="USD"),
    "their own order": replace(UNKNOWN, our_reference="order 7", provider_reference=None),
}


async def reconcile_two_days(
    back_office: BackOffice, *told: Theirs, provider: str = "sandbox", links: bool = True
) -> list[dict[str, Any]]:
    """Reconcile two one-sale days, each with the lines of both days and a line of ``told``.

    ``told`` has one line for both days, or one for each. Return the breaks about these lines. With ``links``, the breaks
    about the other day's sale are linked to that sale.
    """
    settlements, lines = [], []
    for amount in (1_000, 2_000):
        await back_office.shop.sell(amount)
        settlements.append((await back_office.shop.close_now())["id"])
        lines += [statement_line_of(line) for line in (await back_office.shop.lines(settlements[-1])).values()]
    found = []
    for place, settlement_id in enumerate(settlements):
        own = told[place] if len(told) > 1 else told[0]
        if provider == "external":
            await upload(back_office.shop.tenant, settlement_id, lines)
            await upload_external(back_office.shop, settlement_id, [own])
        else:
            await upload(back_office.shop.tenant, settlement_id, [*lines, own])
        await back_office.run(settlement_id)
        for one in await back_office.breaks(settlement_id):
            if one["category"] != "date_mismatch":
                found.append(one)
            elif links:
                quoted = one["our_reference"].partition(":")[0]
                assert (await back_office.resolve(one["id"], resolution="link", reference=quoted)).status == 200
    return found


@pytest.mark.parametrize("booked", BOOKED, ids=["adjust", "write_off"])
@pytest.mark.parametrize("line", LINES)
async def test_an_unknown_line_of_a_file_for_two_days_is_booked_once(
    back_office: BackOffice, line: str, booked: dict[str, Any]
) -> None:
    told = LINES[line]
    first, second = await reconcile_two_days(back_office, told)
    assert (await back_office.resolve(first["id"], resolution="adjust")).status == 200
    refused = await back_office.resolve(second["id"], **booked)
    assert refused.status == 409
    assert f"booked for {first['settlement_id']} ({first['id']})" in refused.details[0]["issue"]
    assert await back_office.provider_total(told.currency) == told.amount + (3_000 if told.currency == "JPY" else 0)
    assert (
        await back_office.resolve(second["id"], resolution="ignore", note="booked for the day before")
    ).status == 200
    assert await back_office.status(second["settlement_id"]) == "reconciled"


async def test_a_line_whose_correction_was_reversed_can_be_booked_where_it_is_reported(back_office: BackOffice) -> None:
    first, second = await reconcile_two_days(back_office, UNKNOWN, links=False)
    assert (await back_office.resolve(first["id"], resolution="adjust")).status == 200
    own = (await back_office.shop.lines(first["settlement_id"])).values()
    await upload(back_office.shop.tenant, first["settlement_id"], map(statement_line_of, own))
    assert (await back_office.run(first["settlement_id"]))["status"] == "reconciled"
    assert await back_office.provider_total() == 3_000
    assert (await back_office.resolve(second["id"], resolution="adjust")).status == 200
    assert await back_office.provider_total() == 3_000 + 9_999


async def test_concurrent_corrections_of_one_line_book_it_once(back_office: BackOffice) -> None:
    shop = back_office.shop
    both = await reconcile_two_days(back_office, UNKNOWN)
    async with await psycopg.AsyncConnection.connect(shop.admin.info.dsn, password=shop.admin.info.password) as other:
        running = "SELECT FROM settlements WHERE store_id = %s AND status = 'open' FOR UPDATE"
        await other.execute(running, [shop.tenant.store_id])
        waiting = [asyncio.create_task(back_office.resolve(one["id"], resolution="adjust")) for one in both]
        await eventually(lambda: rows(shop, WAITING), until=bool, within=60)
        await other.rollback()
    assert sorted([answer.status for answer in await asyncio.gather(*waiting)]) == [200, 409]
    assert await back_office.provider_total() == 3_000 + 9_999


async def test_the_same_slip_number_on_two_dates_means_two_sales(back_office: BackOffice) -> None:
    at = now().replace(microsecond=0)
    slip = replace(UNKNOWN, provider="external", provider_reference="00017", at=at)
    first, second = await reconcile_two_days(
        back_office, slip, replace(slip, at=at.replace(year=at.year - 1)), provider="external"
    )
    for one in (first, second):
        assert (await back_office.resolve(one["id"], resolution="adjust")).status == 200
    assert await back_office.provider_total() == 3_000 + 2 * 9_999


async def test_a_slip_of_a_file_for_two_days_is_booked_once(back_office: BackOffice) -> None:
    slip = replace(UNKNOWN, provider="external", provider_reference="00017", at=now().replace(microsecond=0))
    first, second = await reconcile_two_days(back_office, slip, provider="external")
    assert (await back_office.resolve(first["id"], resolution="adjust")).status == 200
    assert (await back_office.resolve(second["id"], resolution="adjust")).status == 409
    assert (
        await back_office.resolve(second["id"], resolution="ignore", note="booked for the day before")
    ).status == 200


@pytest.mark.parametrize("kind", ["refund", "reversal"])
@pytest.mark.parametrize("booked", BOOKED, ids=["adjust", "write_off"])
async def test_a_refund_reported_under_its_sale_is_linked_and_a_second_line_is_booked(
    back_office: BackOffice, booked: dict[str, Any], kind: str
) -> None:
    shop = back_office.shop
    sale = await shop.sell(1_000)
    refund = await shop.make_refund(sale, 300)
    settlement_id = (await shop.close_now())["id"]
    ours = await shop.lines(settlement_id)
    told = statement_line_of(ours[sale], kind=kind, amount=-300, fee=0)
    await upload(shop.tenant, settlement_id, [statement_line_of(ours[sale]), told, told])
    await back_office.run(settlement_id)
    first, second = [one for one in await back_office.breaks(settlement_id) if one["our_line"] is None]
    refused = await back_office.resolve(first["id"], **booked)
    assert (refused.status, f"{refund}, which is completed" in refused.details[0]["issue"]) == (409, True)
    linked = await back_office.resolve(first["id"], resolution="link", reference=refund, note="told under its sale")
    assert linked.status == 200, linked.raw
    assert (await back_office.resolve(second["id"], **booked)).status == 200
    assert await back_office.provider_total() == 1_000 - 2 * 300


@pytest.mark.parametrize("by", ["our_reference", "provider_reference"])
async def test_a_refund_and_the_line_reported_under_its_sale_are_only_linked(back_office: BackOffice, by: str) -> None:
    shop = back_office.shop
    sale = await shop.sell(1_000)
    await shop.make_refund(sale, 300)
    settlement_id = (await shop.close_now())["id"]
    ours = await shop.lines(settlement_id)
    hidden = {"our_reference": None} if by == "provider_reference" else {"provider_reference": None}
    told = statement_line_of(ours[sale], kind="refund", amount=-300, fee=0, **hidden)
    await upload(shop.tenant, settlement_id, [statement_line_of(ours[sale]), told])
    at_once = back_office.settings.model_copy(update={"statement_sla_hours": 0})
    await reconcile_settlement(settlement_id, actor=WORKER, settings=at_once)
    found = await back_office.breaks(settlement_id)
    assert sorted(one["category"] for one in found) == ["missing_at_provider", "missing_internally"]
    for one in found:
        refused = await back_office.resolve(one["id"], resolution="adjust")
        assert (refused.status, "link to" in refused.details[0]["issue"]) == (409, True), one["category"]
    assert (await back_office.resolve(found[0]["id"], resolution="link", reference=found[1]["id"])).status == 200
    assert (await back_office.status(settlement_id), await back_office.provider_total()) == ("reconciled", 700)


async def test_a_line_is_not_linked_to_a_payment_that_has_an_open_break_itself(back_office: BackOffice) -> None:
    shop = back_office.shop
    sale = await shop.sell(1_000)
    day = (await shop.close_now())["id"]
    line = (await shop.lines(day))[sale]
    await upload(shop.tenant, day, [statement_line_of(line, amount=900), Theirs("payment", "garbled", "x", 100, 0)])
    await back_office.run(day)
    found = {one["category"]: one["id"] for one in await back_office.breaks(day)}
    refused = await back_office.resolve(
        found["missing_internally"], resolution="link", reference=sale, note="the rest of it"
    )
    assert (refused.status, refused.details[0]["issue"]) == (
        422,
        f"{sale} has a break of its own; link to {found['amount_mismatch']}",
    )

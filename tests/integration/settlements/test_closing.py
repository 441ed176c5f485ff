"""A close takes the period's sales and refunds, computes and freezes the totals, and opens the next period."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.factories import TERMINAL
from tests.integration.settlements.settlement_helpers import SettlementShop
from workflows.clock import now
from workflows.errors import InvalidStatusTransition, ResourceNotFound
from workflows.ids import new_id
from workflows.providers.base import Unknown
from workflows.settlements.close import close_manually, close_settlements

NOON = datetime(2026, 10, 1, 3, tzinfo=UTC)  # noon in Tokyo
OPENED = NOON - timedelta(days=1)


async def test_a_close_takes_payments_completed_before_the_end_and_adds_them_up(shop: SettlementShop) -> None:
    await shop.since(created_at=OPENED)
    first = (await shop.periods())[0]
    qr = await shop.sell(2_000, fee=65, at=OPENED, tip_amount=100)
    cash = await shop.sell(1_000, cash=True, at=OPENED)
    back = await shop.make_refund(qr, 500, at=OPENED)
    later = await shop.sell(700, at=first["end_at"])  # the end itself belongs to the next period

    await shop.close(first["id"])

    closed = await shop.settlement(first["id"])
    lines = await shop.lines(first["id"])
    assert set(lines) == {qr, cash, back}
    assert closed["status"] == "closed"
    assert (closed["line_count"], closed["gross_amount"], closed["refunds_amount"]) == (3, 3_100, 500)
    assert (closed["fees_amount"], closed["adjustments_amount"], closed["net_amount"]) == (65, 0, 2_535)
    assert closed["cash_expected"] == 1_000
    assert closed["breakdown"]["qr"]["sandbox"] == {
        "count": 2,
        "gross": 2_100,
        "refunds": 500,
        "fees": 65,
        "adjustments": 0,
        "net": 1_535,
    }
    assert (lines[qr]["amount"], lines[qr]["tip_amount"], lines[qr]["fee"]) == (2_100, 100, 65)
    assert (lines[qr]["our_reference"], lines[qr]["business_date"]) == (f"{qr}:1", first["business_date"])
    assert (lines[back]["amount"], lines[back]["our_reference"]) == (-500, f"{back}:1")
    assert not any(line["is_late"] for line in lines.values())
    marked = await shop.admin.execute(
        "SELECT id, settlement_id FROM payments WHERE store_id = %s UNION ALL"
        " SELECT id, settlement_id FROM refunds WHERE store_id = %s",
        [shop.tenant.store_id, shop.tenant.store_id],
    )
    assert {row["id"]: row["settlement_id"] for row in await marked.fetchall()} == {
        qr: first["id"],
        cash: first["id"],
        back: first["id"],
        later: None,
    }


async def test_the_next_period_begins_where_the_closed_one_ended(shop: SettlementShop) -> None:
    await shop.since(created_at=OPENED)
    first = (await shop.periods())[0]
    await shop.close(first["id"])
    closed, following = await shop.periods()
    assert (closed["status"], following["status"]) == ("closed", "open")
    assert following["start_at"] == closed["end_at"]
    assert following["end_at"] - following["start_at"] == timedelta(days=1)
    assert following["business_date"] == closed["business_date"] + timedelta(days=1)


async def test_an_empty_period_is_closed_too(shop: SettlementShop) -> None:
    await shop.since(created_at=OPENED)
    await shop.close((await shop.periods())[0]["id"])
    closed = (await shop.periods())[0]
    assert (closed["status"], closed["line_count"], closed["net_amount"], closed["cash_expected"]) == (
        "closed",
        0,
        0,
        0,
    )


async def test_lines_of_terminal_sales_and_refunds_have_the_acquirers_references(shop: SettlementShop) -> None:
    await shop.since()
    reported = {**TERMINAL.facts, "card_arn": "V26110105280"}
    sold = await shop.payments.pending(replace(TERMINAL, facts=reported), amount=5_280)
    await shop.payments.process(sold)
    back = await shop.make_refund(sold, 280, report={"result": "approved"})
    bare = await shop.payments.pending(TERMINAL, amount=700)
    await shop.payments.process(bare)
    lines = await shop.lines((await shop.close_now())["id"])
    assert {key: line["provider_reference"] for key, line in lines.items()} == {
        sold: "V26110105280",
        back: "V26110105280",  # it has no number of its own; the acquirer lists it under the sale's
        bare: None,
    }


async def test_a_payment_final_after_the_close_is_a_late_line_with_its_business_date(shop: SettlementShop) -> None:
    await shop.since(created_at=OPENED)
    first = (await shop.periods())[0]
    end = first["end_at"]
    slow = await shop.sell(400)
    await shop.move(slow, end + timedelta(minutes=5), began=end - timedelta(minutes=5))
    missed = await shop.sell(
        300
    )  # recorded in a transaction that began before the end of the period and was committed after the close
    await shop.close(first["id"])
    await shop.move(missed, end - timedelta(milliseconds=1))
    plain = await shop.sell(200, at=end + timedelta(hours=1))

    await shop.close((await shop.periods())[1]["id"])

    second = (await shop.periods())[1]
    lines = await shop.lines(second["id"])
    assert {key: line["is_late"] for key, line in lines.items()} == {slow: True, missed: True, plain: False}
    assert {key: line["business_date"] for key, line in lines.items()} == {
        slow: first["business_date"],
        missed: first["business_date"],
        plain: second["business_date"],
    }
    assert second["late_count"] == 2
    assert (await shop.settlement(first["id"]))["line_count"] == 0


async def test_payments_in_doubt_are_shown_and_block_nothing(shop: SettlementShop) -> None:
    await shop.since()
    shop.provider.charges.append(Unknown("a time-out"))
    doubted = await shop.payments.pending(amount=900, tip_amount=50)
    await shop.payments.process(doubted)
    await shop.sell(100)
    closed = await shop.close_now()
    assert (closed["in_doubt_count"], closed["in_doubt_amount"], closed["gross_amount"]) == (1, 950, 100)


async def test_a_manual_close_ends_the_period_now_and_the_next_has_the_same_date(shop: SettlementShop) -> None:
    await shop.since()
    planned = await shop.running()
    sold = await shop.sell(100)
    closed = await shop.close_now()
    following = await shop.running()
    assert set(await shop.lines(closed["id"])) == {sold}
    assert closed["end_at"] < planned["end_at"]
    assert (following["start_at"], following["end_at"]) == (closed["end_at"], planned["end_at"])
    assert following["business_date"] == closed["business_date"]


async def test_a_closed_or_foreign_settlement_cannot_be_closed(shop: SettlementShop) -> None:
    await shop.since()
    closed = await shop.close_now()
    with pytest.raises(InvalidStatusTransition):
        await close_manually(closed["id"], caller=shop.manager, request_id=new_id("request"))
    with pytest.raises(ResourceNotFound):
        await close_manually("stl_of_nobody", caller=shop.manager, request_id=new_id("request"))
    assert await shop.close(closed["id"]) == []
    assert (await shop.settlement(closed["id"])) == closed


async def test_concurrent_workers_and_a_manager_close_a_settlement_once(
    shop: SettlementShop, caplog: pytest.LogCaptureFixture
) -> None:
    await shop.since(created_at=OPENED)
    first = (await shop.periods())[0]
    sold = await shop.sell(100, at=OPENED)

    async def by_hand() -> None:
        try:
            await close_manually(first["id"], caller=shop.manager, request_id=new_id("request"))
        except InvalidStatusTransition:
            return

    await asyncio.gather(*(close_settlements([first["id"]], worker=f"w{number}") for number in range(3)), by_hand())

    assert [row["status"] for row in await shop.periods()] == ["closed", "open"]
    assert set(await shop.lines(first["id"])) == {sold}
    history = await shop.admin.execute(
        "SELECT event FROM settlement_history WHERE settlement_id = %s ORDER BY version", [first["id"]]
    )
    assert [row["event"] for row in await history.fetchall()] == ["create", "close"]
    assert "failed" not in caplog.text  # the loser of the race waited or skipped the period, without an error


async def test_after_an_outage_of_beat_periods_are_closed_one_by_one_in_order(shop: SettlementShop) -> None:
    opened = now().replace(microsecond=0) - timedelta(days=30)
    await shop.since(created_at=opened)
    sales = [await shop.sell(100 + day, at=opened + timedelta(days=day)) for day in range(0, 30, 7)]

    due = [(await shop.periods())[0]["id"]]
    closed: list[str] = []
    while due:
        assert len(due) == 1
        closed += due
        due = await shop.close(*due)

    periods = await shop.periods()
    assert [row["id"] for row in periods[:-1]] == closed
    assert len(closed) in (30, 31)
    for before, after in pairwise(periods):
        assert after["start_at"] == before["end_at"]
    for number, payment_id in enumerate(sales):
        (line,) = [line for row in periods for key, line in (await shop.lines(row["id"])).items() if key == payment_id]
        home = next(row for row in periods if row["id"] == line["settlement_id"])
        assert home["start_at"] <= opened + timedelta(days=number * 7) < home["end_at"]
        assert line["business_date"] == home["business_date"]


async def test_a_close_and_refunds_of_the_same_payments_do_not_deadlock(shop: SettlementShop) -> None:
    """Both lock the same payments in id order, so they wait for each other and cannot deadlock."""
    await shop.since()
    sold = [await shop.sell(1_000) for _ in range(20)]

    async def make_refund() -> None:
        await shop.refunds.process([await shop.request_refund(payment_id, 100) for payment_id in reversed(sold)])

    _, closed = await asyncio.gather(make_refund(), shop.close_now())
    last = await shop.close_now()
    assert (closed["status"], closed["gross_amount"]) == ("closed", 20_000)
    assert closed["refunds_amount"] + last["refunds_amount"] == 2_000


async def test_a_settlement_that_cannot_be_closed_does_not_block_others(
    shop: SettlementShop, make_tenant: object
) -> None:
    await shop.since(created_at=OPENED)
    other = await make_tenant()  # type: ignore[operator]
    neighbour = SettlementShop(other, shop.admin, shop.payments, shop.refunds, shop.provider)
    await neighbour.since(created_at=OPENED)
    await shop.admin.execute("UPDATE stores SET time_zone = 'Mars/Olympus' WHERE id = %s", [shop.tenant.store_id])
    bad, good = (await shop.periods())[0]["id"], (await neighbour.periods())[0]["id"]
    try:
        await shop.close(bad, good)
        assert (await shop.settlement(bad))["status"] == "open"
        assert (await shop.settlement(good))["status"] == "closed"
    finally:
        await shop.admin.execute("UPDATE stores SET time_zone = 'Asia/Tokyo' WHERE id = %s", [shop.tenant.store_id])


async def test_a_period_that_has_not_begun_cannot_be_closed(shop: SettlementShop) -> None:
    await shop.since(created_at=now() + timedelta(days=3))
    planned = await shop.running()
    with pytest.raises(InvalidStatusTransition) as refused:
        await close_manually(planned["id"], caller=shop.manager, request_id=new_id("request"))
    assert refused.value.details[0].field == "start_at"
    assert await shop.settlement(planned["id"]) == planned

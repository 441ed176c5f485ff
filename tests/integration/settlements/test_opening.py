"""Periods are opened when needed and re-planned when a rule changes, also with several beats at once."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from tests.factories import new_tenant
from tests.integration.settlements.settlement_helpers import WORKER, SettlementShop
from tests.polling import wait_until_blocked_by
from workflows.clock import now
from workflows.ids import new_id
from workflows.settlements import open_periods
from workflows.settlements.close import find_due_settlements
from workflows.settlements.open_periods import open_due_periods
from workflows.settlements.override import OverrideRequest, override_day

TOKYO = ZoneInfo("Asia/Tokyo")


async def test_the_first_period_is_the_whole_day_on_which_the_store_opened(shop: SettlementShop) -> None:
    await shop.since(created_at=datetime(2026, 10, 1, 3, tzinfo=UTC))
    (first,) = await shop.periods()
    assert (first["start_at"], first["end_at"]) == (
        datetime(2026, 9, 30, 15, tzinfo=UTC),
        datetime(2026, 10, 1, 15, tzinfo=UTC),
    )
    assert (first["business_date"], first["status"]) == (date(2026, 10, 1), "open")


async def test_concurrent_workers_open_one_period(shop: SettlementShop) -> None:
    await asyncio.gather(*(open_due_periods(worker=f"beat-{number}") for number in range(3)))
    (only,) = await shop.periods()
    history = await shop.admin.execute(
        "SELECT version, event FROM settlement_history WHERE settlement_id = %s", [only["id"]]
    )
    assert await history.fetchall() == [{"version": 1, "event": "create"}]


async def test_a_worker_that_finds_an_uncommitted_period_waits_and_skips_it(shop: SettlementShop) -> None:
    await shop.since()
    (made,) = await shop.periods()
    names = ", ".join(name for name in made if name not in {"id", "store_id", "merchant_id"})
    other = SettlementShop(await new_tenant(shop.admin), shop.admin, shop.payments, shop.refunds, shop.provider)
    async with shop.admin.transaction():
        await shop.admin.execute(
            f"INSERT INTO settlements (id, store_id, merchant_id, {names}) SELECT %s, %s, %s, {names} FROM settlements"
            " WHERE id = %s",
            [new_id("settlement"), other.tenant.store_id, other.tenant.merchant_id, made["id"]],
        )
        beat = asyncio.create_task(open_due_periods(worker=WORKER))
        await wait_until_blocked_by(shop.admin, seen_by=shop.admin)
    await beat
    assert len(await other.periods()) == 1


async def test_concurrent_workers_after_26_hours_close_each_period_once_and_in_order(shop: SettlementShop) -> None:
    await shop.since(created_at=now() - timedelta(hours=26))
    sold = await shop.sell(at=now() - timedelta(hours=25))

    async def beat() -> None:
        due = [(await shop.periods())[0]["id"]]
        while due:
            due = await shop.close(*due)

    await asyncio.gather(*(beat() for _ in range(3)))

    *closed, running = await shop.periods()
    assert {row["status"] for row in closed} == {"closed"}
    assert running["status"] == "open"
    assert running["end_at"] > now()
    for before, after in pairwise([*closed, running]):
        assert before["end_at"] == after["start_at"]
    assert [key for row in closed for key in await shop.lines(row["id"])] == [sold]


async def test_a_due_period_is_found_once_it_ended(shop: SettlementShop) -> None:
    await shop.since(created_at=now() - timedelta(days=2))
    await shop.close((await shop.periods())[0]["id"])
    due, *_ = [row for row in await shop.periods() if row["status"] == "open"]
    found = {each.id for each in await find_due_settlements(limit=10_000)}
    assert (due["id"] in found) == (due["end_at"] <= now() - timedelta(seconds=5))


async def test_a_currency_gets_a_period_when_it_is_first_used(shop: SettlementShop) -> None:
    await shop.since()
    assert await shop.periods("USD") == []
    first_sold = await shop.sell(1_250, currency="USD", at=now() - timedelta(days=3))
    await shop.sell(2_000, currency="USD")
    await open_due_periods(worker=WORKER)
    (first,) = await shop.periods("USD")
    assert first["start_at"] <= now() - timedelta(days=3) < first["end_at"]
    await shop.close(first["id"])
    assert set(await shop.lines(first["id"])) == {first_sold}
    assert len(await shop.periods("JPY")) == 1


async def test_a_changed_cut_off_moves_the_end_of_the_running_period(shop: SettlementShop) -> None:
    await shop.since()
    before = await shop.running()
    local = now().astimezone(TOKYO)
    cut_off = (local + timedelta(hours=2)).time().replace(second=0, microsecond=0)
    await shop.since(cut_off=cut_off, updated_at=now())
    after = await shop.running()
    assert (after["id"], after["start_at"], after["cut_off"]) == (before["id"], before["start_at"], cut_off)
    assert timedelta(hours=1, minutes=58) < after["end_at"] - now() <= timedelta(hours=2)
    closed = await shop.close_now()
    following = await shop.running()
    assert (following["start_at"], following["end_at"]) == (closed["end_at"], after["end_at"])


async def test_a_change_after_the_end_does_not_move_the_end(shop: SettlementShop) -> None:
    await shop.since(created_at=now() - timedelta(days=1))
    ended = (await shop.periods())[0]
    await shop.since(cut_off=time(5), time_zone="America/New_York", updated_at=now())
    await shop.close(ended["id"])
    closed, following = (await shop.periods())[:2]
    assert (closed["end_at"], closed["cut_off"]) == (ended["end_at"], time(0))
    assert (following["start_at"], following["time_zone"]) == (ended["end_at"], "America/New_York")
    assert following["end_at"].astimezone(ZoneInfo("America/New_York")).time() == time(5)


async def test_a_close_reschedules_a_period_whose_rule_just_changed(shop: SettlementShop) -> None:
    await shop.since(created_at=now() - timedelta(days=1))
    ended = (await shop.periods())[0]
    changed_at = ended["end_at"] - timedelta(hours=1)
    await shop.admin.execute(
        "UPDATE stores SET cut_off = '23:30', updated_at = %s WHERE id = %s", [changed_at, shop.tenant.store_id]
    )
    await shop.close(ended["id"])
    closed = (await shop.periods())[0]
    assert (closed["status"], closed["end_at"]) == ("closed", ended["end_at"] - timedelta(minutes=30))


async def test_an_override_moves_only_the_end_of_its_day(shop: SettlementShop) -> None:
    await shop.since()
    running = await shop.running()
    night = running["end_at"].astimezone(TOKYO).replace(tzinfo=None)
    request = OverrideRequest(running["business_date"], night + timedelta(hours=3), "a wedding")
    await override_day(shop.tenant.store_id, request, caller=shop.manager)
    moved = await shop.running()
    assert moved["end_at"] == running["end_at"] + timedelta(hours=3)
    await override_day(
        shop.tenant.store_id, OverrideRequest(running["business_date"], night), caller=shop.manager
    )  # unchanged
    assert (await shop.running())["end_at"] == running["end_at"]


async def test_a_period_that_has_ended_is_not_moved_by_an_override_of_a_later_day(shop: SettlementShop) -> None:
    await shop.since(created_at=now() - timedelta(days=2))
    ended = await shop.running()
    day = now().astimezone(TOKYO).date() + timedelta(days=1)
    end = datetime.combine(day + timedelta(days=1), time(3))
    await override_day(shop.tenant.store_id, OverrideRequest(day, end), caller=shop.manager)
    assert await shop.running() == ended


async def test_more_periods_than_a_transaction_takes_are_all_rescheduled(
    shop: SettlementShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_periods, "PAGE", 1)
    other = SettlementShop(await new_tenant(shop.admin), shop.admin, shop.payments, shop.refunds, shop.provider)
    shops = [shop, other]
    await shop.since()
    ends = [(await one.running())["end_at"] for one in shops]
    for one in shops:
        await shop.admin.execute(
            "UPDATE stores SET cut_off = '00:30', updated_at = now() WHERE id = %s", [one.tenant.store_id]
        )
    assert await open_due_periods(worker=WORKER) >= 2
    # In the first half hour of a day the period ends today at 00:30, otherwise tomorrow.
    moved = [((await one.running())["end_at"] - end) % timedelta(days=1) for one, end in zip(shops, ends, strict=True)]
    assert moved == [timedelta(minutes=30)] * 2


async def test_a_store_with_an_unknown_time_zone_does_not_stop_the_opening_of_others(
    shop: SettlementShop, caplog: pytest.LogCaptureFixture
) -> None:
    other = SettlementShop(await new_tenant(shop.admin), shop.admin, shop.payments, shop.refunds, shop.provider)
    try:
        await shop.since(time_zone="Mars/Olympus")
        assert (await shop.periods(), len(await other.periods())) == ([], 1)
        (told,) = [record for record in caplog.records if shop.tenant.store_id in record.getMessage()]
        assert told.event == "settlement.unknown_time_zone"  # type: ignore[attr-defined]
    finally:
        await shop.since(time_zone="Asia/Tokyo")
    assert len(await shop.periods()) == 1

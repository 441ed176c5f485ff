"""Test unusual days: clock changes, negative expected cash, refunds of another day, and two currencies at once."""

import asyncio
from datetime import UTC, datetime, time, timedelta

import pytest

from tests.harness import Api
from tests.integration.settlements.settlement_helpers import WORKER, SettlementShop
from workflows.clock import now
from workflows.errors import InvalidRequest
from workflows.ids import new_id
from workflows.money import MAX_AMOUNT
from workflows.providers.base import StatementLine
from workflows.providers.registry import Providers
from workflows.reconciliation.reconcile import reconcile_settlement
from workflows.reconciliation.statements.fetch import fetch_statements
from workflows.settings import Settings
from workflows.settlements.count_cash import count_cash
from workflows.settlements.open_periods import open_due_periods
from workflows.tenants.actor import Actor

ACTOR = Actor(worker=WORKER)
NIGHTS = [
    ("America/New_York", "00:00", "2026-03-08T05:00Z", 23),
    ("America/New_York", "02:30", "2026-03-08T07:30Z", 23),  # 02:30 does not exist that night
    ("America/New_York", "01:30", "2026-11-01T05:30Z", 25),  # 01:30 occurs twice: the first
    ("Europe/London", "00:00", "2026-10-24T23:00Z", 25),
    ("Asia/Kolkata", "00:00", "2026-05-31T18:30Z", 24),
    ("Australia/Lord_Howe", "00:00", "2026-04-04T13:00Z", 24.5),
    ("Australia/Lord_Howe", "00:00", "2026-10-03T13:30Z", 23.5),
    ("Asia/Beirut", "00:00", "2026-03-28T22:00Z", 23),
    ("America/Santiago", "00:00", "2026-09-06T04:00Z", 23),
    ("America/Santiago", "23:30", "2026-04-05T02:30Z", 25),
    ("Asia/Tokyo", "00:00", "2024-02-28T15:00Z", 24),  # leap day
    ("Asia/Tokyo", "05:00", "2025-12-31T20:00Z", 24),  # year end
]


@pytest.mark.parametrize(("zone", "cut_off", "boundary", "hours"), NIGHTS)
async def test_a_closed_day_has_the_length_of_its_local_day(
    shop: SettlementShop, zone: str, cut_off: str, boundary: str, hours: float
) -> None:
    begins = datetime.fromisoformat(boundary).astimezone(UTC)
    end_doubt = begins + timedelta(hours=hours)
    at = begins - timedelta(seconds=1)
    await shop.since(time_zone=zone, cut_off=time.fromisoformat(cut_off), created_at=at, updated_at=at)
    moments = (begins - timedelta(microseconds=1), begins, end_doubt - timedelta(microseconds=1), end_doubt)
    before, first, last, after = [await shop.sell(100, at=moment) for moment in moments]
    for _ in range(3):
        await shop.close((await shop.running())["id"])
    days = (await shop.periods())[:3]
    assert [row["status"] for row in days] == ["closed"] * 3
    assert [set(await shop.lines(row["id"])) for row in days] == [{before}, {first, last}, {after}]
    assert (days[1]["start_at"], days[1]["end_at"]) == (begins, end_doubt)
    assert not any(row["late_count"] for row in days)


async def balance(shop: SettlementShop, kind: str) -> int:
    """Return the merchant's balance on its accounts of one kind."""
    found = await shop.admin.execute(
        "SELECT coalesce(sum(e.amount), 0)::bigint AS balance FROM ledger_accounts a"
        " JOIN ledger_entries e ON e.account_id = a.id WHERE a.merchant_id = %s AND a.kind = %s",
        [shop.tenant.merchant_id, kind],
    )
    return int((await found.fetchone() or {})["balance"])


async def test_expected_cash_includes_tips_and_refunds_but_not_change(shop: SettlementShop) -> None:
    await shop.since()
    facts = {"cash_received": 2_000, "change_amount": 900}
    sold = await shop.sell(1_000, cash=True, tip_amount=100, facts=facts)
    await shop.sell(500, cash=True)
    await shop.make_refund(sold, 300)
    await shop.sell(700)  # by QR code, so not in the drawer
    closed = await shop.close_now()
    assert closed["cash_expected"] == 1_000 + 100 + 500 - 300 == await balance(shop, "cash")
    assert closed["breakdown"]["cash"] == {
        "count": 3, "gross": 1_600, "refunds": 300, "fees": 0, "adjustments": 0, "net": 1_300,
    }  # fmt: skip


async def test_a_refund_of_an_earlier_sale_may_make_the_expected_cash_negative(shop: SettlementShop) -> None:
    await shop.since()
    sold = await shop.sell(1_000, cash=True)
    yesterday = await shop.close_now()
    back = await shop.make_refund(sold, 400)
    today = await shop.close_now()
    assert (yesterday["refunds_amount"], yesterday["cash_expected"]) == (0, 1_000)
    assert set(await shop.lines(today["id"])) == {back}
    assert (today["gross_amount"], today["refunds_amount"], today["net_amount"]) == (0, 400, -400)
    assert today["cash_expected"] == -400
    assert await shop.settlement(yesterday["id"]) == yesterday
    who = {"caller": shop.manager, "request_id": new_id("request")}
    short = await count_cash(today["id"], cash_actual=-450, note="short", **who)  # type: ignore[arg-type]
    assert (short["cash_actual"], await balance(shop, "differences")) == (-450, 50)
    await count_cash(today["id"], cash_actual=-400, note=None, **who)  # type: ignore[arg-type]
    assert await balance(shop, "differences") == 0
    with pytest.raises(InvalidRequest) as refused:  # a drawer with positive expected cash contains at least nothing
        await count_cash(yesterday["id"], cash_actual=-1, note="x", **who)  # type: ignore[arg-type]
    assert refused.value.details[0].field == "cash_actual"


async def test_a_negative_count_is_refused_unless_the_expected_cash_is_negative(api: Api, shop: SettlementShop) -> None:
    await shop.since()
    await shop.sell(100, cash=True)
    closed = await shop.close_now()
    manager = api.signer.user(shop.tenant, role="store_manager")
    body = {"cash_actual": -1, "note": "below nothing"}
    answer = await api.post(f"/settlements/{closed['id']}/cash-count", body, as_=manager)
    assert (answer.status, answer.code, answer.details[0]["field"]) == (422, "VALIDATION_ERROR", "cash_actual")


async def reported(shop: SettlementShop) -> list[StatementLine]:
    """Return the provider's lines for all sales and refunds of the shop."""
    found = await shop.admin.execute(
        """SELECT 'payment' AS kind, id || ':1' AS reference, provider_reference, captured_amount AS amount, currency, fee,
                  completed_at FROM payments WHERE store_id = %(store)s AND completed_at IS NOT NULL
           UNION ALL SELECT 'refund', id || ':1', provider_reference, -amount, currency, fee, completed_at
           FROM refunds WHERE store_id = %(store)s AND completed_at IS NOT NULL""",
        {"store": shop.tenant.store_id},
    )
    return [
        StatementLine(
            row["kind"], row["reference"], row["provider_reference"], row["amount"], row["currency"], row["fee"],
            row["completed_at"].isoformat(),
        )
        for row in await found.fetchall()
    ]  # fmt: skip


async def categories(shop: SettlementShop, settlement_id: str, settings: Settings) -> dict[str, int]:
    """Fetch the statements, reconcile the settlement, and return the number of lines by category."""
    providers = Providers({shop.provider.name: shop.provider})
    await fetch_statements(settlement_id, actor=ACTOR, providers=providers)
    run = await reconcile_settlement(settlement_id, actor=ACTOR, settings=settings)
    return {name: part["count"] for name, part in run["summary"]["categories"].items() if part["count"]}


async def test_the_largest_possible_sale_is_sold_closed_and_reconciled(
    api: Api, shop: SettlementShop, settings: Settings
) -> None:
    await shop.since()
    by_code = await shop.sell(MAX_AMOUNT, tip_amount=MAX_AMOUNT)
    for _ in range(3):
        cash = await shop.sell(MAX_AMOUNT, tip_amount=MAX_AMOUNT, cash=True)
    body = {"amount": 2 * MAX_AMOUNT, "reason": "a slip of the finger", "staff_code": "s-7"}
    answer = await api.post(f"/payments/{by_code}/refund", body, as_=shop.tenant, key="k-1")
    assert answer.status == 201, answer.raw
    await shop.refunds.process([answer.body["id"]])
    await shop.make_refund(cash)
    closed = await shop.close_now()
    assert (closed["gross_amount"], closed["refunds_amount"]) == (8 * MAX_AMOUNT, 4 * MAX_AMOUNT)
    assert closed["cash_expected"] == 4 * MAX_AMOUNT
    manager = api.signer.user(shop.tenant, role="store_manager")
    counted = await api.post(f"/settlements/{closed['id']}/cash-count", {"cash_actual": 4 * MAX_AMOUNT}, as_=manager)
    assert (counted.status, counted.body["cash_discrepancy"]) == (200, 0)
    shop.provider.statements = [[line for line in await reported(shop) if line.provider_reference]]
    assert await categories(shop, closed["id"], settings) == {"matched": 2}
    assert (await shop.settlement(closed["id"]))["status"] == "reconciled"


async def test_settlements_of_two_currencies_ignore_each_others_lines(shop: SettlementShop, settings: Settings) -> None:
    await shop.since()
    await shop.sell(1_000)
    await shop.sell(2_500, currency="USD")
    await open_due_periods(worker=WORKER)
    yen = await shop.close_now()
    assert (yen["gross_amount"], yen["line_count"]) == (1_000, 1)
    stranger = StatementLine("payment", "pay_lost:1", "sbx_lost", 77, "USD", 0, now().isoformat())
    shop.provider.statements = [[*await reported(shop), stranger]]
    assert await categories(shop, yen["id"], settings) == {"matched": 1}  # the dollar settlement is still open

    dollars = await shop.running("USD")
    await shop.admin.execute("UPDATE settlements SET end_at = now() WHERE id = %s", [dollars["id"]])
    await shop.close(dollars["id"])
    assert (await shop.settlement(dollars["id"]))["gross_amount"] == 2_500
    assert await categories(shop, dollars["id"], settings) == {"matched": 1, "missing_internally": 1}


async def test_a_payment_that_a_close_missed_is_matched_on_the_next_statement(
    shop: SettlementShop, settings: Settings
) -> None:
    """The sale completed before the end and was committed after the close.

    Both lines therefore belong to the next settlement.
    """
    await shop.since()
    await shop.sell(1_000)
    closed = await shop.close_now()
    missed = await shop.sell(300)
    await shop.move(missed, closed["end_at"] - timedelta(milliseconds=5))
    shop.provider.statements = [await reported(shop)]
    assert await categories(shop, closed["id"], settings) == {"matched": 1}
    following = await shop.close_now()
    assert (await shop.lines(following["id"]))[missed]["is_late"] is True
    assert await categories(shop, following["id"], settings) == {"matched": 1}


async def test_an_override_a_new_zone_and_a_manual_close_leave_one_chain_of_periods(
    shop: SettlementShop, api: Api
) -> None:
    await shop.since()
    manager, admin = (api.signer.user(shop.tenant, role=role) for role in ("store_manager", "merchant_admin"))
    path = f"/stores/{shop.tenant.store_id}"
    first = await shop.running()
    for changes in ({"cut_off": "05:00"}, {"time_zone": "America/New_York"}, {"cut_off": "23:30"}):
        assert (await api.call("PATCH", path, changes, as_=admin)).status == 200
        await asyncio.gather(open_due_periods(worker=WORKER), open_due_periods(worker="another"))
        running = await shop.running()
        assert (running["id"], running["start_at"]) == (first["id"], first["start_at"])
        assert timedelta(0) < running["end_at"] - now() <= timedelta(hours=25)
    assert (await api.post(f"/settlements/{first['id']}/close", as_=manager)).status == 200
    closed, following = await shop.periods()
    assert closed["end_at"] == following["start_at"]
    assert following["end_at"] == running["end_at"]

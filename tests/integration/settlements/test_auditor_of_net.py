"""Invariant I15 finds money that is in the settlements twice."""

from dataclasses import replace

import pytest

from tests.factories import TERMINAL
from tests.harness import Api
from tests.integration.settlements.back_office import BackOffice, statement_line_of
from tests.integration.settlements.settlement_helpers import SettlementShop
from tests.integration.settlements.test_corrections_and_known_money import upload_external
from tests.reconciliation_helpers import upload
from workflows.database.engines import Role, transaction
from workflows.reconciliation.adjust import Adjustment, write_adjustment
from workflows.settings import Settings
from workflows.settlements.open_periods import open_due_periods


async def book(
    shop: SettlementShop, entity_id: str, amount: int, *, provider: str = "sandbox", **references: str | None
) -> None:
    """Book a correction for money that is already booked, which the product would refuse."""
    facts = {"our_reference": f"{entity_id}:1", "provider_reference": None, **references}
    async with transaction(Role.WORKER) as connection:
        at = (await shop.settlement((await shop.running())["id"]))["created_at"]
        wrong = Adjustment(shop.tenant.store_id, "JPY", provider, amount, at, **facts)
        await write_adjustment(connection, wrong)


@pytest.mark.parametrize("by", ["our_reference", "provider_reference"])
@pytest.mark.parametrize("kind", ["payment", "refund"])
async def test_the_auditor_finds_money_that_is_in_the_settlements_twice(
    shop: SettlementShop, api: Api, settings: Settings, kind: str, by: str
) -> None:
    await open_due_periods(worker="worker-of-the-test")
    back_office = BackOffice(shop, api, settings)
    sale = await shop.sell(6_773, fee=73)
    entity_id = await shop.make_refund(sale, 700) if kind == "refund" else sale
    settlement_id = await back_office.close()
    line = (await shop.lines(settlement_id))[entity_id]
    hidden = {} if by == "our_reference" else {"our_reference": None, "provider_reference": line["provider_reference"]}
    await book(shop, entity_id, line["amount"], **hidden)
    assert await back_office.net_violations() == []  # nothing was reconciled yet
    assert (await back_office.run(settlement_id))["status"] == "reconciled"
    (problem,) = await back_office.net_violations()
    provider_total, told = line["amount"] * 2 - line["fee"], line["amount"] - line["fee"]
    assert problem.endswith(f"hold {provider_total}, the provider says {told}")


async def test_the_auditor_finds_a_file_of_two_days_that_was_booked_into_both(
    shop: SettlementShop, api: Api, settings: Settings
) -> None:
    await open_due_periods(worker="worker-of-the-test")
    back_office = BackOffice(shop, api, settings)
    await shop.sell(1_000)
    first = (await shop.close_now())["id"]
    sale = await shop.sell(4_838)
    second = await back_office.close()
    line = (await shop.lines(second))[sale]
    both = [statement_line_of(one) for place in (first, second) for one in (await shop.lines(place)).values()]
    await upload(shop.tenant, first, both)
    await back_office.run(first)
    (found,) = await back_office.breaks(first)
    assert (await back_office.resolve(found["id"], resolution="ignore", note="a file of two days")).status == 200
    await back_office.run(second)
    assert [await back_office.status(one) for one in (first, second)] == ["reconciled", "reconciled"]
    assert await back_office.net_violations() == []
    await shop.admin.execute("UPDATE breaks SET resolution = 'adjust' WHERE id = %s", [found["id"]])
    await book(shop, sale, line["amount"])
    assert (await back_office.net_violations())[0].endswith("hold 9676, the provider says 4838")


async def sell_at_a_terminal(shop: SettlementShop, slip_number: str, amount: int) -> tuple[str, str]:
    """Create a sale by the terminal's own application, and close its settlement; return both ids."""
    facts = {**TERMINAL.facts, "slip_number": slip_number}
    sale = await shop.payments.pending(replace(TERMINAL, facts=facts), amount=amount)
    await shop.payments.process(sale)
    return sale, (await shop.close_now())["id"]


@pytest.mark.parametrize("second", ["accepted", "compared", "both days in both files"])
async def test_a_slip_number_that_a_terminal_used_twice_is_not_a_finding(back_office: BackOffice, second: str) -> None:
    shop = back_office.shop
    days = [await sell_at_a_terminal(shop, "00017", amount) for amount in (700, 800)]
    lines = [(await shop.lines(settlement_id))[sale] for sale, settlement_id in days]
    told = [statement_line_of(line, provider="external", our_reference=None) for line in lines]
    for place, (_, settlement_id) in enumerate(days):
        if place == 1 and second == "accepted":
            boss = back_office.api.signer.user(shop.tenant, role="store_manager")
            body = {"accept_uncompared": True, "note": "on paper"}
            assert (await back_office.api.post(f"/settlements/{settlement_id}/reconcile", body, as_=boss)).status == 200
        else:
            await upload_external(shop, settlement_id, told if second.startswith("both") else [told[place]])
            await back_office.run(settlement_id)
            for found in await back_office.breaks(settlement_id):
                assert (await back_office.resolve(found["id"], resolution="adjust")).status == 409
                other = days[1 - place][0]
                assert (await back_office.resolve(found["id"], resolution="link", reference=other)).status == 200
        assert await back_office.status(settlement_id) == "reconciled"
    assert await back_office.net_violations() == []


async def test_the_auditor_finds_a_terminals_sale_that_was_booked_twice(
    shop: SettlementShop, api: Api, settings: Settings
) -> None:
    await open_due_periods(worker="worker-of-the-test")
    back_office = BackOffice(shop, api, settings)
    sale, settlement_id = await sell_at_a_terminal(shop, "00018", 700)
    line = (await shop.lines(settlement_id))[sale]
    await upload_external(shop, settlement_id, [statement_line_of(line, provider="external", our_reference=None)])
    assert (await back_office.run(settlement_id))["status"] == "reconciled"
    await book(shop, sale, 700, provider="external", our_reference=None, provider_reference="00018")
    assert (await back_office.net_violations())[0].endswith("hold 1400, the provider says 700")

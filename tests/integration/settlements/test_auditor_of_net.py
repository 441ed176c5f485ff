"""I15 finds what is planted: money that is in the settlements twice, whoever booked it."""

import pytest

from tests.harness import Api
from tests.integration.settlements.desk import Desk, said_of
from tests.integration.settlements.kit import Shop
from tests.reconciling import upload
from workflows.database import Role, transaction
from workflows.settings import Settings
from workflows.settlements.adjust import Adjustment, write_adjustment
from workflows.settlements.open_due import open_due


async def book(shop: Shop, entity_id: str, amount: int, **references: str | None) -> None:
    """What the product refuses: a correction for money that the books have."""
    facts = {"our_reference": f"{entity_id}:1", "provider_reference": None, **references}
    async with transaction(Role.WORKER) as connection:
        at = (await shop.settlement((await shop.running())["id"]))["created_at"]
        wrong = Adjustment(shop.tenant.store_id, "JPY", "sandbox", amount, at, **facts)
        await write_adjustment(connection, wrong)


@pytest.mark.parametrize("by", ["our_reference", "provider_reference"])
@pytest.mark.parametrize("kind", ["payment", "refund"])
async def test_the_auditor_finds_money_that_is_in_the_settlements_twice(
    shop: Shop, api: Api, settings: Settings, kind: str, by: str
) -> None:
    await open_due(worker="worker-of-the-test")
    desk = Desk(shop, api, settings)
    sale = await shop.sell(6_773, fee=73)
    entity_id = await shop.give_back(sale, 700) if kind == "refund" else sale
    settlement_id = await desk.close()
    line = (await shop.lines(settlement_id))[entity_id]
    hidden = {} if by == "our_reference" else {"our_reference": None, "provider_reference": line["provider_reference"]}
    await book(shop, entity_id, line["amount"], **hidden)
    assert await desk.audited() == []  # nothing was reconciled yet
    assert (await desk.run(settlement_id))["status"] == "reconciled"
    (problem,) = await desk.audited()
    held, told = line["amount"] * 2 - line["fee"], line["amount"] - line["fee"]
    assert problem.endswith(f"hold {held}, the provider says {told}")


async def test_the_auditor_finds_a_file_of_two_days_that_was_booked_into_both(
    shop: Shop, api: Api, settings: Settings
) -> None:
    await open_due(worker="worker-of-the-test")
    desk = Desk(shop, api, settings)
    await shop.sell(1_000)
    first = (await shop.close_now())["id"]
    sale = await shop.sell(4_838)
    second = await desk.close()
    line = (await shop.lines(second))[sale]
    both = [said_of(one) for place in (first, second) for one in (await shop.lines(place)).values()]
    await upload(shop.tenant, first, both)
    await desk.run(first)
    (found,) = await desk.breaks(first)
    assert (await desk.resolve(found["id"], resolution="ignore", note="a file of two days")).status == 200
    await desk.run(second)
    assert [await desk.status(one) for one in (first, second)] == ["reconciled", "reconciled"]
    assert await desk.audited() == []
    await shop.admin.execute("UPDATE breaks SET resolution = 'adjust' WHERE id = %s", [found["id"]])
    await book(shop, sale, line["amount"])
    assert (await desk.audited())[0].endswith("hold 9676, the provider says 4838")

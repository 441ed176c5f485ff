"""The drawer is counted once a day is closed; a difference needs a note and is posted to the ledger."""

import pytest

from tests.integration.settlements.settlement_helpers import Row, SettlementShop
from workflows.errors import InvalidRequest, InvalidStatusTransition, ResourceNotFound
from workflows.ids import new_id
from workflows.settlements.count_cash import count_cash
from workflows.settlements.models import SettlementRow


async def count(shop: SettlementShop, settlement_id: str, actual: int, note: str | None = None) -> SettlementRow:
    """Count the drawer as the store's manager."""
    return await count_cash(
        settlement_id, cash_actual=actual, note=note, caller=shop.manager, request_id=new_id("request")
    )


async def closed_with_cash(shop: SettlementShop, amount: int = 5_000) -> Row:
    """Sell ``amount`` for cash, and close and return the settlement, which expects it in the drawer."""
    await shop.since()
    await shop.sell(amount, cash=True)
    return await shop.close_now()


async def balance(shop: SettlementShop, kind: str) -> int:
    """Return the merchant's balance on its accounts of one kind."""
    found = await shop.admin.execute(
        "SELECT coalesce(sum(e.amount), 0)::bigint AS balance FROM ledger_accounts a"
        " JOIN ledger_entries e ON e.account_id = a.id WHERE a.merchant_id = %s AND a.kind = %s",
        [shop.tenant.merchant_id, kind],
    )
    row = await found.fetchone()
    assert row is not None
    return int(row["balance"])


async def test_an_exact_count_needs_no_note_and_posts_nothing(shop: SettlementShop) -> None:
    closed = await closed_with_cash(shop)
    counted = await count(shop, closed["id"], 5_000)
    assert (counted["cash_actual"], counted["note"], counted["version"]) == (5_000, None, closed["version"] + 1)
    assert (await balance(shop, "cash"), await balance(shop, "differences")) == (5_000, 0)


async def test_a_difference_needs_a_note_and_is_posted(shop: SettlementShop) -> None:
    closed = await closed_with_cash(shop)
    with pytest.raises(InvalidRequest) as refused:
        await count(shop, closed["id"], 4_500)
    assert refused.value.details[0].field == "note"
    await count(shop, closed["id"], 4_500, "short, nobody knows why")
    assert (await balance(shop, "cash"), await balance(shop, "differences")) == (4_500, 500)
    history = await shop.admin.execute(
        "SELECT reason FROM settlement_history WHERE settlement_id = %s AND event = 'count_cash'", [closed["id"]]
    )
    assert [row["reason"] for row in await history.fetchall()] == ["short, nobody knows why"]


async def test_a_count_may_be_corrected_and_the_ledger_follows(shop: SettlementShop) -> None:
    closed = await closed_with_cash(shop)
    await count(shop, closed["id"], 4_500, "short")
    await count(shop, closed["id"], 5_100, "found 600 under the drawer")
    assert (await balance(shop, "cash"), await balance(shop, "differences")) == (5_100, -100)
    await count(shop, closed["id"], 5_000)
    assert (await balance(shop, "cash"), await balance(shop, "differences")) == (5_000, 0)


async def test_an_open_or_unknown_settlement_cannot_be_counted(shop: SettlementShop) -> None:
    await shop.since()
    with pytest.raises(InvalidStatusTransition):
        await count(shop, (await shop.running())["id"], 0)
    with pytest.raises(ResourceNotFound):
        await count(shop, "stl_of_nobody", 0)


async def test_a_reconciled_settlement_is_not_counted_again(shop: SettlementShop) -> None:
    closed = await closed_with_cash(shop)
    await count(shop, closed["id"], 5_000)
    await shop.admin.execute(
        "UPDATE settlements SET status = 'reconciled', version = version + 1, reconciled_at = now(), reconciled_by = 'usr_x'"
        " WHERE id = %s",
        [closed["id"]],
    )
    with pytest.raises(InvalidStatusTransition):
        await count(shop, closed["id"], 5_000)

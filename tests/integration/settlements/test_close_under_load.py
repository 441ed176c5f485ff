"""F27: a close while 500 payments complete. Each is in exactly one settlement; totals = lines = ledger."""

import asyncio

from tests.factories import CASH
from tests.integration.settlements.settlement_helpers import Shop
from workflows.errors import InvalidStatusTransition
from workflows.ids import new_id
from workflows.settlements.close import close_manually

PAYMENTS, AT_ONCE = 500, 25

_LEDGER = """
    SELECT l.settlement_id, sum(e.amount)::bigint AS held FROM settlement_lines l
    JOIN ledger_journals j ON j.source_id = l.entity_id JOIN ledger_entries e ON e.journal_id = j.id
    JOIN ledger_accounts a ON a.id = e.account_id
    WHERE l.store_id = %s AND a.kind IN ('cash', 'receivable') GROUP BY l.settlement_id
"""


async def test_500_payments_complete_while_the_day_is_closed_again_and_again(shop: Shop) -> None:
    await shop.since()
    pending = await asyncio.gather(
        *(shop.payments.pending(CASH, amount=100 + number, client_reference=None) for number in range(PAYMENTS))
    )
    is_done = asyncio.Event()

    async def sell() -> None:
        pages = [list(pending[start : start + AT_ONCE]) for start in range(0, PAYMENTS, AT_ONCE)]
        for page in pages:
            await asyncio.gather(shop.payments.process(*page[::2]), shop.payments.process(*page[1::2]))
        is_done.set()

    async def close_again_and_again() -> int:
        closes = 0
        while not is_done.is_set():
            try:
                settlement_id = (await shop.running())["id"]
                await close_manually(settlement_id, caller=shop.manager, request_id=new_id("request"))
                closes += 1
            except InvalidStatusTransition:
                continue  # the other one was quicker
        return closes

    _, *closes = await asyncio.gather(sell(), close_again_and_again(), close_again_and_again())
    assert sum(closes) > 3, "the closes were to run between the payments"
    last = await shop.close_now()

    periods = [row for row in await shop.periods() if row["status"] == "closed"]
    lines = {row["id"]: await shop.lines(row["id"]) for row in periods}
    assert sorted(key for each in lines.values() for key in each) == sorted(pending)
    assert sum(1 for each in lines.values() if each) > 1, "the payments were to be spread over several settlements"
    assert sum(row["gross_amount"] for row in periods) == sum(100 + number for number in range(PAYMENTS))
    found = await shop.admin.execute(_LEDGER, [shop.tenant.store_id])
    held = {row["settlement_id"]: row["held"] for row in await found.fetchall()}
    for row in periods:
        amounts = [line["amount"] for line in lines[row["id"]].values()]
        assert (row["line_count"], row["net_amount"]) == (len(amounts), sum(amounts))
        assert row["net_amount"] == held.get(row["id"], 0)
    assert [before["end_at"] for before in periods[:-1]] == [after["start_at"] for after in periods[1:]]
    assert periods[-1]["id"] == last["id"]

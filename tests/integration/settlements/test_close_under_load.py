"""If settlements are closed while payments or refunds complete, each is in exactly one of them (F20, F27).

Totals, lines and ledger agree.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from tests.factories import CASH
from tests.integration.settlements.settlement_helpers import SettlementShop
from workflows.errors import InvalidRequest, InvalidStatusTransition
from workflows.ids import new_id
from workflows.settlements.close import close_manually

ROUNDS = 10
PAYMENTS_PER_ROUND = 50
SALES, REFUND, REFUNDS_PER_SALE = 10, 300, 3  # a sale of 1,000 yen has room for three refunds

_LEDGER = """
    SELECT l.settlement_id, sum(e.amount)::bigint AS held FROM settlement_lines l
    JOIN ledger_journals j ON j.source_id = l.entity_id JOIN ledger_entries e ON e.journal_id = j.id
    JOIN ledger_accounts a ON a.id = e.account_id
    WHERE l.store_id = %s AND a.kind IN ('cash', 'receivable') GROUP BY l.settlement_id
"""


@dataclass
class Closer:
    """A manager who repeatedly closes the running settlement. Two of them run concurrently."""

    shop: SettlementShop
    is_done: bool = False
    _closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Close settlements until ``is_done``."""
        while not self.is_done:
            settlement_id = (await self.shop.running())["id"]
            try:
                await close_manually(settlement_id, caller=self.shop.manager, request_id=new_id("request"))
            except InvalidStatusTransition:
                continue  # the other manager closed it first
            self._closed.set()

    async def next_close(self) -> None:
        """Wait until a settlement is closed after this call."""
        self._closed.clear()
        await asyncio.wait_for(self._closed.wait(), timeout=60)


Load = Callable[[SettlementShop, Callable[[], Awaitable[None]]], Awaitable[tuple[set[str], int]]]
"""A function that completes payments or refunds in rounds, with a close after each; returns their ids and the net amount."""


async def complete_payments(shop: SettlementShop, next_close: Callable[[], Awaitable[None]]) -> tuple[set[str], int]:
    amounts = range(100, 100 + ROUNDS * PAYMENTS_PER_ROUND)
    pending = await asyncio.gather(
        *(shop.payments.pending(CASH, amount=amount, client_reference=None) for amount in amounts)
    )
    for start in range(0, len(pending), PAYMENTS_PER_ROUND):
        page = pending[start : start + PAYMENTS_PER_ROUND]
        await asyncio.gather(shop.payments.process(*page[::2]), shop.payments.process(*page[1::2]))
        await next_close()
    return set(pending), sum(amounts)


async def complete_refunds(shop: SettlementShop, next_close: Callable[[], Awaitable[None]]) -> tuple[set[str], int]:
    """Request refunds of all sales in rounds, with one round more than the amounts of the sales allow."""
    sales = [await shop.sell(1_000) for _ in range(SALES)]

    async def make_refund(payment_id: str) -> str | None:
        try:
            return await shop.make_refund(payment_id, REFUND)
        except InvalidRequest:
            return None

    completed: list[str | None] = []
    for _ in range(REFUNDS_PER_SALE + 1):
        completed += await asyncio.gather(*(make_refund(payment_id) for payment_id in sales))
        await next_close()
    refunds = {refund_id for refund_id in completed if refund_id}
    assert len(refunds) == SALES * REFUNDS_PER_SALE
    found = await shop.admin.execute("SELECT refunded_amount FROM payments WHERE id = ANY(%s)", [sales])
    assert [row["refunded_amount"] for row in await found.fetchall()] == [REFUND * REFUNDS_PER_SALE] * SALES
    return {*sales, *refunds}, SALES * (1_000 - REFUND * REFUNDS_PER_SALE)


@pytest.mark.parametrize("load", [complete_payments, complete_refunds])
async def test_each_payment_and_refund_is_in_one_settlement_during_repeated_closes(
    shop: SettlementShop, load: Load
) -> None:
    await shop.since()
    closer = Closer(shop)

    async def run_load() -> tuple[set[str], int]:
        try:
            return await load(shop, closer.next_close)
        finally:
            closer.is_done = True

    (entity_ids, net_amount), *_ = await asyncio.gather(run_load(), closer.run(), closer.run())
    last = await shop.close_now()

    periods = [row for row in await shop.periods() if row["status"] == "closed"]
    lines = {row["id"]: await shop.lines(row["id"]) for row in periods}
    assert sorted(key for each in lines.values() for key in each) == sorted(entity_ids)
    assert sum(1 for each in lines.values() if each) > 1, "the load has to be spread over several settlements"
    assert sum(row["net_amount"] for row in periods) == net_amount
    found = await shop.admin.execute(_LEDGER, [shop.tenant.store_id])
    provider_total = {row["settlement_id"]: row["held"] for row in await found.fetchall()}
    for row in periods:
        amounts = [line["amount"] for line in lines[row["id"]].values()]
        assert (row["line_count"], row["net_amount"]) == (len(amounts), sum(amounts))
        assert row["net_amount"] == provider_total.get(row["id"], 0)
    assert [before["end_at"] for before in periods[:-1]] == [after["start_at"] for after in periods[1:]]
    assert periods[-1]["id"] == last["id"]

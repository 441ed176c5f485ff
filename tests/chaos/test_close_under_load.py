"""Managers and beat close the day while 500 payments and their refunds complete (F20, F27).

Two stores sell in two currencies, by cash, the terminal's card application and the provider's QR codes; some outcomes are
unknown for a while. Whenever the closes happen, each final line is in exactly one settlement of its store and currency,
totals are the sums of the lines, of the ledger's accounts and of the provider's ledger, and a closed settlement never
changes.
"""

import asyncio
import hashlib
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import uuid_utils

from tests.factories import WHY, Tenant
from tests.harness import Answer
from tests.live_stack import RECOVERY_SECONDS, LiveStack
from tests.polling import eventually
from workflows.ids import new_id

PAYMENTS, TILLS = 500, 20
METHODS: tuple[dict[str, Any], ...] = (
    {"type": "cash", "cash_received": 10_000},
    {"type": "qr", "mode": "cpm"},
    {"type": "card", "approval_code": "A1", "card_brand": "visa", "result": "approved"},
)
FATES = (None, None, None, "slow:300", "timeout_after_charge", "decline:lost_card")
FINAL = ("completed", "failed", "cancelled")


class Day:
    """Two stores that sell, refund and close concurrently."""

    def __init__(self, live: LiveStack, stores: list[Tenant]) -> None:
        self.live = live
        self.stores = stores
        self.sold: list[str] = []
        self.refund_ids: list[str] = []
        self.read: dict[str, str] = {}
        self.is_over = asyncio.Event()
        self._chance = random.Random(27)

    def manager(self, store: Tenant) -> str:
        """Return a token of a store's manager."""
        return self.live.api.signer.user(store, role="store_manager")

    async def make_sales(self, count: int) -> None:
        """Make ``count`` sales, and refund part of some as soon as they are paid."""
        for _ in range(count):
            store, method = self._chance.choice(self.stores), self._chance.choice(METHODS)
            fate = self._chance.choice(FATES) if method["type"] == "qr" else None
            fields: dict[str, Any] = {
                "amount": self._chance.randrange(100, 9_000),
                "currency": self._chance.choice(["JPY", "JPY", "USD"]),
            }
            if fate:
                fields["metadata"] = {"sandbox": fate}
            staff = self.live.api.signer.user(store)
            sold = await self.live.api.pay(staff, method=method, **fields)
            assert sold.status == 201, sold.raw
            self.sold.append(sold.body["id"])
            if self._chance.random() < 0.4:
                await self.request_refund(staff, sold.body["id"])

    async def request_refund(self, staff: str, payment_id: str) -> None:
        """Request a refund of 50 once the payment is final. A close may lock its row for a moment."""
        api = self.live.api
        await eventually(
            lambda: api.get(f"/payments/{payment_id}?wait=5", as_=staff),
            until=lambda answer: answer.body["status"] in FINAL,
            within=RECOVERY_SECONDS,
        )
        paid = (await api.get(f"/payments/{payment_id}", as_=staff)).body
        by_hand = {"report": {"result": "approved"}} if paid["processing_mode"] == "external" else {}
        body = {"amount": 50, **WHY, **by_hand}
        asked = await eventually(
            lambda: api.post(f"/payments/{payment_id}/refund", body, as_=staff, key=uuid_utils.uuid7().hex),
            until=lambda answer: answer.status != 503,
            within=RECOVERY_SECONDS,
        )
        if asked.status == 201:
            self.refund_ids.append(asked.body["id"])
        else:
            assert asked.status == 409, asked.raw  # the payment failed, so there is nothing to refund

    async def close_manually(self, store: Tenant, *, every_seconds: float) -> None:
        """Repeatedly close all open settlements of the store, as its manager, until the day is over."""
        while not self.is_over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.is_over.wait(), every_seconds)
            for settlement_id in await self.ids(store, "open"):
                answer = await self.live.api.post(f"/settlements/{settlement_id}/close", as_=self.manager(store))
                assert answer.status in (200, 409, 503), answer.raw
            await self.keep_reading(store)

    async def let_days_end(self) -> None:
        """Repeatedly back-date the end of the running periods, so that beat finds them due."""
        while not self.is_over.is_set():
            await self.live.sql(
                """UPDATE settlements SET end_at = clock_timestamp() - interval '5 seconds'
                   WHERE status = 'open' AND start_at < clock_timestamp() - interval '6 seconds' AND store_id = ANY(%s)""",
                [store.store_id for store in self.stores],
            )
            await asyncio.sleep(0.5)

    async def ids(self, store: Tenant, status: str) -> list[str]:
        """Return the ids of the store's newest settlements in ``status``."""
        listed = await self.live.api.get(f"/settlements?status={status}&limit=100", as_=self.manager(store))
        assert listed.status == 200, listed.raw
        return [row["id"] for row in listed.body["data"]]

    async def keep_reading(self, store: Tenant) -> None:
        """Store the hash of each newly closed settlement, to compare it at the end."""
        for settlement_id in await self.ids(store, "closed"):
            if settlement_id not in self.read:
                self.read[settlement_id] = await self.read_whole(store, settlement_id)

    async def read_whole(self, store: Tenant, settlement_id: str) -> str:
        """Return the hash of a settlement's JSON export, which contains all its lines."""
        answer: Answer = await self.live.api.get(f"/settlements/{settlement_id}/export.json", as_=self.manager(store))
        assert answer.status == 200, answer.raw
        return hashlib.sha256(answer.raw).hexdigest()


async def two_stores(live: LiveStack) -> list[Tenant]:
    """Return the tenant's store and a new store of the same merchant."""
    other = replace(live.tenant, store_id=new_id("store"))
    await live.sql(
        """INSERT INTO stores (id, merchant_id, name, currency, time_zone, cut_off, created_at, updated_at)
           SELECT %s, merchant_id, name, currency, time_zone, cut_off, created_at, updated_at FROM stores WHERE id = %s""",
        *(other.store_id, live.tenant.store_id),
    )
    await live.sql(
        """INSERT INTO store_providers SELECT %s, merchant_id, %s, provider, methods, priority, enabled, credentials,
               created_at, updated_at FROM store_providers WHERE store_id = %s""",
        *(new_id("store_provider"), other.store_id, live.tenant.store_id),
    )
    return [live.tenant, other]


async def lines_of(live: LiveStack, stores: list[Tenant]) -> dict[str, list[dict[str, Any]]]:
    """Return the stores' settlement lines by the id of their payment or refund."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in await live.sql(
        """SELECT l.*, s.store_id AS home, s.currency AS money, s.status FROM settlement_lines l
           JOIN settlements s ON s.id = l.settlement_id WHERE l.store_id = ANY(%s)""",
        [store.store_id for store in stores],
    ):
        lines.setdefault(line["entity_id"], []).append(line)
    return lines


async def close_all(day: Day) -> None:
    """Wait until each currency has a running period, and close all of them."""
    await asyncio.to_thread(day.live.nudge, "settlements.open_due")
    await eventually(
        lambda: day.live.sql(
            """SELECT FROM payments p WHERE p.completed_at IS NOT NULL AND p.settlement_id IS NULL AND NOT EXISTS (
                   SELECT FROM settlements s WHERE s.store_id = p.store_id AND s.currency = p.currency
                   AND s.status = 'open')"""
        ),
        until=lambda rows: not rows,
        within=RECOVERY_SECONDS,
    )
    for store in day.stores:
        for settlement_id in await day.ids(store, "open"):
            answer = await day.live.api.post(f"/settlements/{settlement_id}/close", as_=day.manager(store))
            assert answer.status in (200, 409), answer.raw
        await day.keep_reading(store)


async def test_each_of_500_payments_and_refunds_is_in_one_settlement_while_managers_and_beat_close(
    live: LiveStack,
) -> None:
    day = Day(live, await two_stores(live))
    await asyncio.to_thread(live.nudge, "settlements.open_due")
    paces = (
        (day.stores[0], 0.05),
        (day.stores[0], 0.1),
        (day.stores[1], 9.0),
    )  # the other store is mostly closed by beat
    closing = [asyncio.ensure_future(day.close_manually(store, every_seconds=pace)) for store, pace in paces]
    ending = asyncio.ensure_future(day.let_days_end())
    await asyncio.gather(*(day.make_sales(PAYMENTS // TILLS) for _ in range(TILLS)))
    ended = await live.final_statuses(day.sold)
    refunds = "SELECT status, count(*) AS count FROM refunds WHERE id = ANY(%s) GROUP BY status"
    await eventually(
        lambda: live.sql(refunds, day.refund_ids),
        until=lambda rows: {row["status"] for row in rows} == {"completed"},
        within=RECOVERY_SECONDS,
    )
    day.is_over.set()
    await asyncio.gather(*closing, ending)
    await close_all(day)

    by = await live.sql(
        """SELECT caller_type, count(*) AS count FROM settlement_history h JOIN settlements s ON s.id = h.settlement_id
           JOIN LATERAL (SELECT FROM settlement_lines l WHERE l.settlement_id = s.id LIMIT 1) l ON true
           WHERE h.event = 'close' AND h.store_id = ANY(%s) GROUP BY 1""",
        [store.store_id for store in day.stores],
    )
    closes = {row["caller_type"]: row["count"] for row in by}
    assert closes["user"] > 5, closes
    assert closes["worker"] > 0, closes

    lines = await lines_of(live, day.stores)
    completed = {row["id"] for row in await live.sql("SELECT id FROM payments WHERE completed_at IS NOT NULL")}
    assert set(lines) == (completed & set(day.sold)) | set(day.refund_ids)
    assert Counter(len(each) for each in lines.values()) == {1: len(lines)}
    for (line,) in lines.values():
        assert (line["store_id"], line["currency"]) == (line["home"], line["money"])
        assert line["status"] == "closed"
    assert ended["failed"] > 0
    assert len(completed & set(day.sold)) == PAYMENTS - ended["failed"]

    for store in day.stores:
        for settlement_id in await day.ids(store, "closed"):
            assert await day.read_whole(store, settlement_id) == day.read[settlement_id]
    for store in day.stores:
        rows = await live.sql(
            "SELECT currency, start_at, end_at FROM settlements WHERE store_id = %s ORDER BY currency, start_at",
            store.store_id,
        )
        for before, after in pairwise(rows):
            assert before["currency"] != after["currency"] or before["end_at"] == after["start_at"]

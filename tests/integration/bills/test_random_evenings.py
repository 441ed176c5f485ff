"""Random evenings at one store: orders, bills, splits, payments and refunds in any order, judged after each step.

The judge spells I12 and its neighbours out in SQL and asks nothing of the code that wrote the rows.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.bills.bill_helpers import (
    Admin,
    combine,
    give_back_shares,
    pay_shares,
    post_bill,
    release_shares,
    reserve_shares,
    share,
    split,
)
from tests.integration.orders.order_helpers import RAMEN, RICE, post_order
from workflows.bills.lock import Share
from workflows.bills.reserve import Reserved

STEPS = 150
STATUSES = {200, 201, 409, 422}

JUDGES = {
    "paid + reserved ≤ total, and the status says so": """
        SELECT id FROM bills WHERE store_id = %(store)s AND NOT (paid_amount + reserved_amount <= total_amount
            AND (status = 'paid') = (paid_amount = total_amount) AND (status IN ('unpaid', 'voided')) = (paid_amount = 0))""",
    "parts sum to the whole": """
        SELECT w.id FROM bills w JOIN bills p ON p.parent_bill_id = w.id WHERE w.store_id = %(store)s GROUP BY w.id
        HAVING (sum(p.total_amount), sum(p.subtotal), sum(p.tax_amount), sum(p.discount_amount))
            <> (w.total_amount, w.subtotal, w.tax_amount, w.discount_amount) OR w.status <> 'voided'""",
    "nothing is billed twice": """
        SELECT min(b.id) FROM bills b JOIN LATERAL (
            SELECT string_agg(order_id, ' ' ORDER BY order_id) AS family, sum(o.total_amount) AS total
            FROM bill_orders bo JOIN orders o ON o.id = bo.order_id WHERE bo.bill_id = b.id) f ON true
        WHERE b.store_id = %(store)s AND b.status <> 'voided' GROUP BY f.family, f.total
        HAVING sum(b.total_amount) > f.total""",
    "an order is paid when everything of it is": """
        SELECT o.id FROM orders o WHERE o.store_id = %(store)s AND o.status IN ('open', 'paid') AND (o.status = 'paid') <> (
            SELECT coalesce(bool_and(b.status = 'paid'), false) AND coalesce(sum(b.total_amount), 0) = coalesce((
                SELECT sum(t.total_amount) FROM orders t WHERE t.id IN (
                    SELECT y.order_id FROM bill_orders x JOIN bills z ON z.id = x.bill_id AND z.status <> 'voided'
                    JOIN bill_orders y ON y.bill_id = x.bill_id WHERE x.order_id = o.id)), 0)
            FROM bill_orders bo JOIN bills b ON b.id = bo.bill_id WHERE bo.order_id = o.id AND b.status <> 'voided')""",
    "version = number of history rows": """
        SELECT id FROM bills b WHERE store_id = %(store)s
            AND version <> (SELECT count(*) FROM bill_history h WHERE h.bill_id = b.id)
        UNION ALL SELECT id FROM orders o WHERE store_id = %(store)s
            AND version <> (SELECT count(*) FROM order_history h WHERE h.order_id = o.id)""",
}


class Evening:
    """One store's evening. Each step is what somebody may try at any moment; whether it is allowed is ours to say."""

    def __init__(self, api: Api, tenant: Tenant, seed: int) -> None:
        self.api, self.tenant, self.dice = api, tenant, random.Random(seed)
        self.held: list[Share] = []
        self.kept: list[Share] = []

    async def step(self) -> None:
        steps: list[Callable[[], Awaitable[None]]] = [
            self.order,
            self.change,
            self.bill,
            self.bill,
            self.together,
            self.split,
            self.void,
            self.cancel,
            *[self.reserve] * 3,
            *[self.end] * 3,
            self.refund,
        ]
        await self.dice.choice(steps)()

    async def order(self) -> None:
        items = self.dice.sample([RAMEN, RICE, {**RICE, "name": "Tea", "unit_price": 3}], self.dice.randint(1, 3))
        answer = await post_order(self.api, self.tenant, items=items, discount_amount=2, submit=True)
        assert answer.status == 201

    async def change(self) -> None:
        path = f"/orders/{await self._any('orders')}"
        version = (await self.api.get(path, as_=self.tenant)).body["version"]
        await self._call("PATCH", path, {"version": version, "items": [RICE], "discount_amount": 1})

    async def bill(self) -> None:
        assert (await post_bill(self.api, self.tenant, await self._any("orders"))).status in STATUSES

    async def together(self) -> None:
        ids = [await self._any("orders") for _ in range(2)]
        assert (await combine(self.api, self.tenant, *ids)).status in STATUSES

    async def split(self) -> None:
        parts = self.dice.randint(2, 4)
        assert (await split(self.api, self.tenant, await self._any("bills"), parts=parts)).status in STATUSES

    async def void(self) -> None:
        await self._call("POST", f"/bills/{await self._any('bills')}/void")

    async def cancel(self) -> None:
        await self._call("POST", f"/orders/{await self._any('orders')}/cancel")

    async def reserve(self) -> None:
        bill = (await self.api.get(f"/bills/{await self._any('bills')}", as_=self.tenant)).body
        mine = share(bill["id"], self.dice.choice([bill["total_amount"], self.dice.randint(1, bill["total_amount"])]))
        (result,) = await reserve_shares(self.tenant, [mine])
        assert isinstance(result, Reserved) == (mine.amount <= bill["balance_amount"])
        if isinstance(result, Reserved):
            self.held.append(mine)

    async def end(self) -> None:
        if self.held:
            mine = self.held.pop(self.dice.randrange(len(self.held)))
            if self.dice.random() < 0.8:
                await pay_shares(mine)
                self.kept.append(mine)
            else:
                await release_shares(mine)

    async def refund(self) -> None:
        if self.kept:
            await give_back_shares(self.kept.pop(self.dice.randrange(len(self.kept))))

    async def _any(self, what: str) -> str:
        found = (await self.api.get(f"/{what}?limit=8", as_=self.tenant)).body["data"]
        if not found:
            await self.order()
            assert (await post_bill(self.api, self.tenant, await self._any("orders"))).status == 201
            return await self._any(what)
        chosen: str = self.dice.choice(found)["id"]
        return chosen

    async def _call(self, method: str, path: str, body: Any = None) -> None:
        answer = await self.api.call(method, path, body, as_=self.tenant)
        assert answer.status in STATUSES, answer.body


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_an_evening_brings_the_sums_come_out(api: Api, tenant: Tenant, admin: Admin, seed: int) -> None:
    evening = Evening(api, tenant, seed)
    for number in range(STEPS):
        await evening.step()
        for sentence, query in JUDGES.items():
            found = await (await admin.execute(query, {"store": tenant.store_id})).fetchall()
            assert found == [], f"{sentence}, step {number} of seed {seed}"
    bills = await admin.execute(
        "SELECT sum(paid_amount - refunded_amount) AS kept, sum(reserved_amount) AS held FROM bills WHERE store_id = %s",
        [tenant.store_id],
    )
    assert await bills.fetchone() == {
        "kept": sum(each.amount for each in evening.kept),
        "held": sum(each.amount for each in evening.held),
    }
    statuses = await admin.execute(
        """SELECT DISTINCT status FROM bills WHERE store_id = %(store)s
           UNION SELECT status FROM orders WHERE store_id = %(store)s""",
        {"store": tenant.store_id},
    )
    assert len(await statuses.fetchall()) >= 6  # an evening on which little happened would prove little

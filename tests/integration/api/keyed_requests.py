"""Build every kind of POST that takes an idempotency key, with a valid body and the rows that it needs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson
import psycopg
from psycopg.rows import DictRow

from tests.factories import CASH, PaymentMaker, Tenant
from tests.harness import Answer, Api
from tests.integration.bills.bill_helpers import bill_of
from tests.integration.orders.order_helpers import RAMEN, open_order
from tests.reconciliation_helpers import closed_settlement, some_sales

HEADER = b"kind,reference,provider_reference,amount,currency,fee,at"
Admin = psycopg.AsyncConnection[DictRow]


@dataclass(frozen=True)
class Posting:
    """A POST with an idempotency key. ``table`` and ``row_id`` name the row that it locks, if any."""

    path: str
    body: Any
    table: str = ""
    row_id: str = ""
    content_type: str = "application/json"

    async def send(self, api: Api, as_: Tenant | str, *, key: str, body: Any = None) -> Answer:
        """Send the request, optionally with another ``body``."""
        sent = self.body if body is None else body
        raw = sent if isinstance(sent, bytes) else orjson.dumps(sent)
        return await api.post(self.path, raw, as_=as_, key=key, headers={"Content-Type": self.content_type})


@dataclass(frozen=True)
class Shop:
    """A store, and what is needed to create rows in it."""

    api: Api
    admin: Admin
    payments: PaymentMaker

    @property
    def tenant(self) -> Tenant:
        """Return the tenant of the store."""
        return self.payments.tenant


async def a_payment(shop: Shop) -> Posting:
    return Posting("/payments", {"amount": 1_000, "method": {"type": "cash"}, "metadata": {"a": 1, "b": "é"}})


async def a_payment_of_a_whole_bill(shop: Shop) -> Posting:
    bill = await bill_of(shop.api, shop.tenant, (await open_order(shop.api, shop.tenant))["id"])
    body = {"amount": bill["total_amount"], "method": {"type": "cash"}, "bill_id": bill["id"]}
    return Posting("/payments", body, "bills", bill["id"])


async def an_order(shop: Shop) -> Posting:
    return Posting("/orders", {"order_type": "dine_in", "items": [RAMEN]})


async def a_bill(shop: Shop) -> Posting:
    order = await open_order(shop.api, shop.tenant)
    return Posting("/bills", {"order_id": order["id"]}, "orders", order["id"])


async def a_combined_bill(shop: Shop) -> Posting:
    ids = [(await open_order(shop.api, shop.tenant))["id"] for _ in range(2)]
    return Posting("/bills/combine", {"order_ids": ids}, "orders", ids[0])


async def a_split(shop: Shop) -> Posting:
    bill = await bill_of(shop.api, shop.tenant, (await open_order(shop.api, shop.tenant))["id"])
    return Posting(f"/bills/{bill['id']}/split", {"parts": 2}, "bills", bill["id"])


async def a_full_refund(shop: Shop) -> Posting:
    payment_id = await shop.payments.pending(replace(CASH))
    await shop.payments.process(payment_id)
    body = {"reason": "cold", "staff_code": "s-7", "metadata": {"a": 1, "b": 2}}
    return Posting(f"/payments/{payment_id}/refund", body, "payments", payment_id)


async def a_statement(shop: Shop) -> Posting:
    settlement_id = await closed_settlement(shop.admin, shop.tenant, some_sales(2))
    path = f"/settlements/{settlement_id}/statements?provider=sandbox"
    return Posting(path, HEADER + b"\n", "", settlement_id, "text/csv")


OF_TILLS: tuple[Callable[[Shop], Awaitable[Posting]], ...] = (
    a_payment,
    a_payment_of_a_whole_bill,
    an_order,
    a_bill,
    a_combined_bill,
    a_split,
    a_full_refund,
)
"""Builders of the requests that a terminal may send."""

EVERY = (*OF_TILLS, a_statement)
"""Builders of all requests, including those that only users may send."""

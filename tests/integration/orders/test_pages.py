"""Pages of orders, bills and refunds remain consistent while new rows are created."""

from typing import Any

import pytest

from tests.harness import Api
from tests.integration.bills.bill_helpers import bill_of
from tests.integration.orders.order_helpers import open_order
from tests.integration.refunds.refund_helpers import RefundMaker, post_refund


class Made:
    """Creates orders, bills or refunds (``what``): refunds of one payment, orders and bills of one table."""

    def __init__(self, api: Api, refunds: RefundMaker, what: str) -> None:
        self.api, self.refunds, self.what = api, refunds, what
        self.payment_id = ""

    async def one(self) -> str:
        tenant = self.refunds.tenant
        if self.what == "refunds":
            self.payment_id = self.payment_id or await self.refunds.paid()
            found: dict[str, Any] = (await post_refund(self.api, tenant, self.payment_id, amount=1)).body
        else:
            found = await open_order(self.api, tenant, table_number="7")
            if self.what == "bills":
                found = await bill_of(self.api, tenant, found["id"])
        return str(found["id"])


@pytest.mark.parametrize(
    ("what", "filters"),
    [("orders", "status=open&table_number=7"), ("bills", "status=unpaid"), ("refunds", "status=pending")],
)
async def test_a_list_is_read_to_its_end_once_each_while_more_come(
    api: Api, refunds: RefundMaker, what: str, filters: str
) -> None:
    made = Made(api, refunds, what)
    before = [await made.one() for _ in range(7)]
    seen: list[str] = []
    cursor, pages = "", 0
    while True:
        page = (await api.get(f"/{what}?{filters}&limit=3{cursor}", as_=refunds.tenant)).body
        seen += [row["id"] for row in page["data"]]
        pages += 1
        await made.one()
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert (seen, pages) == (before[::-1], 3)
    newest = (await api.get(f"/{what}?{filters}&limit=200", as_=refunds.tenant)).body
    assert [row["id"] for row in newest["data"]][3:] == before[::-1]
    assert newest["next_cursor"] is None


async def test_bills_are_found_by_when_they_were_made(api: Api, refunds: RefundMaker) -> None:
    made = Made(api, refunds, "bills")
    ids = [await made.one() for _ in range(3)]
    bills = [(await api.get(f"/bills/{bill_id}", as_=refunds.tenant)).body for bill_id in ids]
    for query, expected in (
        (f"created_from={bills[1]['created_at']}", ids[:0:-1]),
        (f"created_to={bills[1]['created_at']}", ids[:1]),
        (f"created_from={bills[1]['created_at']}&created_to={bills[2]['created_at']}", ids[1:2]),
    ):
        found = (await api.get(f"/bills?{query}", as_=refunds.tenant)).body["data"]
        assert [bill["id"] for bill in found] == expected, query

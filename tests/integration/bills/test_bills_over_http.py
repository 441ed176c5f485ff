"""Bills are created, combined, listed and paid over HTTP, and their orders follow."""

import asyncio
from typing import Any

import pytest

from tests.contract_schemas import fields
from tests.factories import Signer, Tenant
from tests.harness import Api
from tests.integration.bills.bill_helpers import (
    AMOUNTS,
    Admin,
    bill_of,
    combine,
    history,
    order_status,
    pay_whole,
    post_bill,
    read,
    split,
)
from tests.integration.orders.order_helpers import RAMEN, RICE, open_order, post_order


async def test_a_bill_has_the_amounts_of_its_order(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = await open_order(api, tenant, items=[RAMEN, RICE], discount_amount=25)
    bill = await bill_of(api, tenant, order["id"])
    assert set(bill) == set(fields("bill"))
    assert {name: bill[name] for name in AMOUNTS} == {name: order[name] for name in AMOUNTS}
    assert (bill["status"], bill["order_ids"], bill["parent_bill_id"]) == ("unpaid", [order["id"]], None)
    assert (bill["paid_amount"], bill["reserved_amount"], bill["balance_amount"]) == (0, 0, 1098)
    assert bill["bill_number"].endswith("-0001")
    assert await read(api, tenant, bill["id"]) == bill
    assert (await api.get(f"/orders/{order['id']}", as_=tenant)).body["bill_ids"] == [bill["id"]]
    assert await history(admin, bill["id"]) == [("create", None, "unpaid")]


async def test_a_table_of_three_orders_splits_pays_and_is_refunded(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = await open_order(api, tenant, items=[{**RAMEN, "quantity": 1, "unit_price": 100, "tax_rate": "0"}])
    bill = await bill_of(api, tenant, order["id"])
    parts = (await split(api, tenant, bill["id"], parts=3)).body["data"]
    assert [part["total_amount"] for part in parts] == [34, 33, 33]
    assert {part["parent_bill_id"] for part in parts} == {bill["id"]}
    assert (await read(api, tenant, bill["id"]))["status"] == "voided"
    for part in parts[:2]:
        assert await pay_whole(tenant, part) == []
        assert await order_status(api, tenant, order["id"]) == "open"
    assert await pay_whole(tenant, parts[2]) == [order["id"]]
    paid = (await api.get(f"/orders/{order['id']}", as_=tenant)).body
    assert (paid["status"], paid["bill_ids"]) == ("paid", [part["id"] for part in parts])
    assert paid["paid_at"] is not None
    last = await read(api, tenant, parts[2]["id"])
    assert (last["status"], last["paid_amount"], last["balance_amount"]) == ("paid", 33, 0)
    assert last["paid_at"] is not None
    assert await history(admin, parts[2]["id"]) == [
        ("create", None, "unpaid"),
        ("reserve", "unpaid", "unpaid"),
        ("pay_whole", "unpaid", "paid"),
    ]
    completed = await api.post(f"/orders/{order['id']}/complete", as_=tenant)
    assert (completed.status, completed.body["status"]) == (200, "completed")
    refused = await api.post(f"/orders/{order['id']}/cancel", as_=tenant)
    assert (refused.status, "completed" in refused.details[0]["issue"]) == (409, True)


async def test_an_order_with_a_bill_cannot_be_billed_again_or_changed(api: Api, tenant: Tenant) -> None:
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    second = await post_bill(api, tenant, order["id"])
    assert (second.status, second.code) == (409, "DUPLICATE_RESOURCE")
    assert bill["id"] in second.details[0]["issue"]
    for answer in (
        await api.call("PATCH", f"/orders/{order['id']}", {"version": order["version"], "items": [RICE]}, as_=tenant),
        await api.post(f"/orders/{order['id']}/cancel", as_=tenant),
    ):
        assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")
        assert answer.details[0] == {"field": "status", "issue": "The order is open"}
        assert bill["id"] in answer.details[1]["issue"]
    assert (await api.post(f"/bills/{bill['id']}/void", as_=tenant)).body["status"] == "voided"
    changed = await api.call(
        "PATCH", f"/orders/{order['id']}", {"version": order["version"], "items": [RICE]}, as_=tenant
    )
    assert changed.status == 200
    again = await bill_of(api, tenant, order["id"])
    assert (again["total_amount"], again["bill_number"][-4:]) == (135, "0002")


@pytest.mark.parametrize("status", ["draft", "paid", "completed", "cancelled"])
async def test_only_an_open_order_is_billed(api: Api, tenant: Tenant, status: str) -> None:
    order = (await post_order(api, tenant, submit=status in ("paid", "completed"))).body
    if status == "cancelled":
        await api.post(f"/orders/{order['id']}/cancel", as_=tenant)
    elif status != "draft":
        await pay_whole(tenant, await bill_of(api, tenant, order["id"]))
        if status == "completed":
            await api.post(f"/orders/{order['id']}/complete", as_=tenant)
    refused = await post_bill(api, tenant, order["id"])
    assert (refused.status, refused.code) == (409, "INVALID_STATUS_TRANSITION")
    assert status in refused.details[0]["issue"]


async def test_orders_are_combined_and_paid_together(api: Api, tenant: Tenant) -> None:
    orders = [await open_order(api, tenant), await open_order(api, tenant, items=[RICE])]
    ids = sorted(order["id"] for order in orders)
    bill = (await combine(api, tenant, *ids)).body
    assert {name: bill[name] for name in AMOUNTS} == {name: sum(order[name] for order in orders) for name in AMOUNTS}
    assert bill["order_ids"] == ids
    assert (await combine(api, tenant, *ids)).status == 409
    assert (await post_bill(api, tenant, ids[0])).code == "DUPLICATE_RESOURCE"
    parts = (await split(api, tenant, bill["id"], amounts=[125, bill["total_amount"] - 125])).body["data"]
    assert await pay_whole(tenant, parts[0]) == []
    assert sorted(await pay_whole(tenant, parts[1])) == ids


async def test_orders_that_cannot_share_a_bill_are_refused(api: Api, tenant: Tenant, make_tenant: Any) -> None:
    yen, dollars = await open_order(api, tenant), await open_order(api, tenant, currency="USD")
    draft = (await post_order(api, tenant)).body
    other = await open_order(api, await make_tenant())
    for ids, status in [
        ([yen["id"], dollars["id"]], 422),
        ([yen["id"], draft["id"]], 409),
        ([yen["id"], other["id"]], 404),
        ([yen["id"], yen["id"]], 422),
        ([yen["id"]], 422),
    ]:
        assert (await combine(api, tenant, *ids)).status == status


async def test_orders_of_two_stores_are_not_combined(api: Api, make_tenant: Any, signer: Signer, admin: Admin) -> None:
    first = await make_tenant()
    await admin.execute(
        "INSERT INTO stores VALUES ('sto_second_' || %s, %s, 'S', 'JPY', 'Asia/Tokyo', '00:00', now(), now())",
        [first.store_id[-8:], first.merchant_id],
    )
    manager = signer.user(first, role="merchant_admin")
    orders = [
        await open_order(api, manager, store_id=store_id)
        for store_id in (first.store_id, f"sto_second_{first.store_id[-8:]}")
    ]
    refused = await combine(api, manager, *(order["id"] for order in orders))
    assert (refused.status, refused.details[0]["field"]) == (422, "order_ids")


async def test_bill_of_another_tenant_is_404(api: Api, tenant: Tenant, make_tenant: Any) -> None:
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    other = await make_tenant()
    assert (await post_bill(api, other, order["id"])).status == 404
    assert (await split(api, other, bill["id"], parts=2)).status == 404
    assert (await api.get(f"/bills/{bill['id']}", as_=other)).status == 404
    assert (await api.post(f"/bills/{bill['id']}/void", as_=other)).status == 404
    assert (await api.get("/bills", as_=other)).body["data"] == []


async def test_lists_are_filtered_and_paged(api: Api, tenant: Tenant) -> None:
    orders = [await open_order(api, tenant) for _ in range(3)]
    bills = [await bill_of(api, tenant, order["id"]) for order in orders]
    parts = (await split(api, tenant, bills[2]["id"], parts=2)).body["data"]
    for query, expected in [
        ("status=voided", [bills[2]]),
        (f"order_id={orders[0]['id']}", [bills[0]]),
        (f"parent_bill_id={bills[2]['id']}", [parts[1], parts[0]]),
        (f"bill_number={bills[1]['bill_number']}", [bills[1]]),
        ("store_id=sto_other", []),
    ]:
        found = (await api.get(f"/bills?{query}", as_=tenant)).body["data"]
        assert [bill["id"] for bill in found] == [bill["id"] for bill in expected], query
    first = (await api.get("/bills?limit=3", as_=tenant)).body
    rest = (await api.get(f"/bills?limit=3&cursor={first['next_cursor']}", as_=tenant)).body
    assert len(first["data"]) == 3
    assert [bill["id"] for bill in rest["data"]] == [bills[1]["id"], bills[0]["id"]]


async def test_repeated_key_creates_one_bill_and_one_split(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = await open_order(api, tenant)
    answers = await asyncio.gather(*(post_bill(api, tenant, order["id"], key="bill") for _ in range(8)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.raw for answer in answers}) == 1
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == ["", *["true"] * 7]
    bill_id = answers[0].body["id"]
    splits = await asyncio.gather(*(split(api, tenant, bill_id, key="split", parts=2) for _ in range(8)))
    assert {answer.status for answer in splits} == {201}
    assert len({answer.raw for answer in splits}) == 1
    assert (await split(api, tenant, bill_id, key="split", parts=3)).code == "IDEMPOTENCY_KEY_REUSED"
    rows = await admin.execute(
        "SELECT bill_number FROM bills WHERE store_id = %s ORDER BY bill_number", [tenant.store_id]
    )
    assert [row["bill_number"][-4:] for row in await rows.fetchall()] == ["0001", "0002", "0003"]


async def test_eight_terminals_bill_one_order_once(api: Api, tenant: Tenant) -> None:
    order = await open_order(api, tenant)
    answers = await asyncio.gather(*(post_bill(api, tenant, order["id"]) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7

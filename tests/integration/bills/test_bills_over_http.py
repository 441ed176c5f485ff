"""Bills: made, combined, split, voided; and the orders that follow them."""

import asyncio
from typing import Any

import pytest

from tests.factories import Signer, Tenant
from tests.harness import Api
from tests.integration.bills.kit import (
    Admin,
    bill_of,
    combine,
    give_back_shares,
    history,
    hold,
    pay_shares,
    pay_whole,
    post_bill,
    read,
    release_shares,
    share,
    split,
)
from tests.integration.orders.kit import RAMEN, RICE, open_order, post_order

AMOUNTS = ("subtotal", "tax_amount", "discount_amount", "total_amount")
FIELDS = {
    "id",
    "bill_number",
    "order_ids",
    "parent_bill_id",
    "status",
    "currency",
    *AMOUNTS,
    "paid_amount",
    "reserved_amount",
    "balance_amount",
    "paid_at",
    "version",
}


async def order_status(api: Api, tenant: Tenant, order_id: str) -> str:
    status: str = (await api.get(f"/orders/{order_id}", as_=tenant)).body["status"]
    return status


async def test_a_bill_has_the_amounts_of_its_order(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = await open_order(api, tenant, items=[RAMEN, RICE], discount_amount=25)
    bill = await bill_of(api, tenant, order["id"])
    assert set(bill) >= FIELDS
    assert {name: bill[name] for name in AMOUNTS} == {name: order[name] for name in AMOUNTS}
    assert (bill["status"], bill["order_ids"], bill["parent_bill_id"]) == ("unpaid", [order["id"]], None)
    assert (bill["paid_amount"], bill["reserved_amount"], bill["balance_amount"]) == (0, 0, 1098)
    assert bill["bill_number"].endswith("-0001")
    assert await read(api, tenant, bill["id"]) == bill
    assert (await api.get(f"/orders/{order['id']}", as_=tenant)).body["bill_ids"] == [bill["id"]]
    assert await history(admin, bill["id"]) == [("create", None, "unpaid")]


async def test_the_whole_story_of_a_table_of_three(api: Api, tenant: Tenant, admin: Admin) -> None:
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


async def test_an_order_with_a_live_bill_gets_no_second_and_does_not_change(api: Api, tenant: Tenant) -> None:
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    second = await post_bill(api, tenant, order["id"])
    assert (second.status, second.code) == (409, "DUPLICATE_RESOURCE")
    assert bill["id"] in second.details[0]["issue"]
    for answer in (
        await api.call("PATCH", f"/orders/{order['id']}", {"items": [RICE]}, as_=tenant),
        await api.post(f"/orders/{order['id']}/cancel", as_=tenant),
    ):
        assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")
        assert answer.details[0] == {"field": "status", "issue": "The order is open"}
        assert bill["id"] in answer.details[1]["issue"]
    assert (await api.post(f"/bills/{bill['id']}/void", as_=tenant)).body["status"] == "voided"
    changed = await api.call("PATCH", f"/orders/{order['id']}", {"items": [RICE]}, as_=tenant)
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


async def test_combining_refuses_what_does_not_belong_together(api: Api, tenant: Tenant, make_tenant: Any) -> None:
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


@pytest.mark.parametrize(
    ("how", "field"),
    [
        ({"parts": 100}, "parts"),
        ({"parts": 1}, "parts"),
        ({"parts": 2.0}, "parts"),
        ({"amounts": [10, 10]}, "amounts"),
        ({"amounts": [12, 0]}, "amounts.1"),
        ({"items": [["itm_x"], ["itm_y"]]}, "items"),
        ({"items": [[], ["itm_y"]]}, "items.0"),
        ({}, "body"),
        ({"parts": 2, "amounts": [6, 6]}, "body"),
    ],
)
async def test_what_is_no_split_is_refused(api: Api, tenant: Tenant, how: dict[str, Any], field: str) -> None:
    order = await open_order(api, tenant, items=[{**RAMEN, "quantity": 1, "unit_price": 11}])
    bill = await bill_of(api, tenant, order["id"])
    refused = await split(api, tenant, bill["id"], **how)
    assert (refused.status, refused.code, refused.details[0]["field"]) == (422, "VALIDATION_ERROR", field)
    assert await read(api, tenant, bill["id"]) == bill


async def test_a_bill_is_split_by_items_and_a_part_again(api: Api, tenant: Tenant) -> None:
    order = await open_order(api, tenant, items=[RAMEN, RICE, {**RICE, "name": "Tea"}], discount_amount=100)
    ramen, rice, tea = (item["id"] for item in order["items"])
    bill = await bill_of(api, tenant, order["id"])
    parts = (await split(api, tenant, bill["id"], items=[[ramen], [rice, tea]])).body["data"]
    assert [part["subtotal"] for part in parts] == [900, 250]
    for name in AMOUNTS:
        assert sum(part[name] for part in parts) == bill[name]
    again = (await split(api, tenant, parts[1]["id"], items=[[tea], [rice]])).body["data"]
    assert [part["subtotal"] for part in again] == [125, 125]
    thirds = (await split(api, tenant, again[0]["id"], parts=3)).body["data"]
    assert sum(part["total_amount"] for part in thirds) == again[0]["total_amount"]
    refused = await split(api, tenant, thirds[0]["id"], items=[[tea], [rice]])
    assert refused.status == 422
    refused = await split(api, tenant, bill["id"], parts=2)
    assert (refused.status, "voided" in refused.details[0]["issue"]) == (409, True)
    live = (await api.get(f"/orders/{order['id']}", as_=tenant)).body["bill_ids"]
    assert sorted(live) == sorted(part["id"] for part in [parts[0], again[1], *thirds])


async def test_nothing_is_split_or_voided_once_anything_is_paid_or_reserved(api: Api, tenant: Tenant) -> None:
    bill = await bill_of(api, tenant, (await open_order(api, tenant))["id"])

    async def refuses(status: str) -> None:
        for answer in (
            await split(api, tenant, bill["id"], parts=2),
            await api.post(f"/bills/{bill['id']}/void", as_=tenant),
        ):
            assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")
            assert answer.details[0]["field"] == "status"
            assert answer.details[0]["issue"].startswith(f"The bill is {status};")

    held = await hold(tenant, bill["id"], 100)
    await refuses("unpaid")
    await pay_shares(held)
    await refuses("partially_paid")
    rest = await hold(tenant, bill["id"], 890)
    await release_shares(rest)
    await pay_shares(await hold(tenant, bill["id"], 890))
    await refuses("paid")


async def test_a_bill_that_was_all_given_back_is_voided(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    await pay_shares(await hold(tenant, bill["id"], 100))
    await give_back_shares(share(bill["id"], 40))
    assert (await read(api, tenant, bill["id"]))["paid_amount"] == 60
    await give_back_shares(share(bill["id"], 60))
    voided = await api.post(f"/bills/{bill['id']}/void", as_=tenant)
    assert (voided.status, voided.body["status"], voided.body["balance_amount"]) == (200, "voided", 0)
    assert [event for event, _, _ in await history(admin, bill["id"])] == [
        "create",
        "reserve",
        "pay_part",
        "give_back_part",
        "give_back",
        "void",
    ]
    assert voided.body["version"] == 6
    refused = await api.post(f"/bills/{bill['id']}/void", as_=tenant)
    assert (refused.status, "voided" in refused.details[0]["issue"]) == (409, True)
    assert (await api.post(f"/orders/{order['id']}/cancel", as_=tenant)).body["status"] == "cancelled"


async def test_a_voided_part_leaves_something_to_bill_and_the_order_open(api: Api, tenant: Tenant) -> None:
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    parts = (await split(api, tenant, bill["id"], parts=3)).body["data"]
    assert (await api.post(f"/bills/{parts[1]['id']}/void", as_=tenant)).status == 200
    for part in (parts[0], parts[2]):
        assert await pay_whole(tenant, part) == []
    assert await order_status(api, tenant, order["id"]) == "open"
    rest = await bill_of(api, tenant, order["id"])
    assert {name: rest[name] for name in AMOUNTS} == {name: parts[1][name] for name in AMOUNTS}
    assert (await post_bill(api, tenant, order["id"])).status == 409
    assert await pay_whole(tenant, rest) == [order["id"]]


async def test_a_paid_order_is_cancelled_once_everything_was_given_back(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    paid = await api.pay(tenant, amount=990)  # a plain sale stands in for a payment of this bill
    await admin.execute("UPDATE payments SET bill_id = %s WHERE id = %s", [bill["id"], paid.body["id"]])
    await admin.execute("UPDATE payments SET status = 'processing', version = 2 WHERE id = %s; ", [paid.body["id"]])
    await admin.execute(
        """UPDATE payments SET status = 'completed', version = 3, captured_amount = 990, due_at = NULL, lease_until = NULL
           WHERE id = %s""",
        [paid.body["id"]],
    )
    await pay_whole(tenant, bill)
    assert await order_status(api, tenant, order["id"]) == "paid"
    refused = await api.post(f"/orders/{order['id']}/cancel", as_=tenant)
    assert (refused.status, [detail["field"] for detail in refused.details]) == (409, ["status", "payments"])
    assert "paid" in refused.details[0]["issue"]
    await admin.execute(
        """UPDATE payments SET status = 'refunded', version = 4, refunded_amount = 990, refund_reserved = 990
           WHERE id = %s""",
        [paid.body["id"]],
    )
    await give_back_shares(share(bill["id"], 990))
    given_back = await read(api, tenant, bill["id"])
    assert (given_back["status"], given_back["paid_amount"], given_back["refunded_amount"]) == ("paid", 990, 990)
    assert given_back["balance_amount"] == 0
    cancelled = await api.post(f"/orders/{order['id']}/cancel", as_=tenant)
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")


async def test_bills_of_others_do_not_exist(api: Api, tenant: Tenant, make_tenant: Any) -> None:
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


async def test_one_key_is_one_bill_and_one_split(api: Api, tenant: Tenant, admin: Admin) -> None:
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

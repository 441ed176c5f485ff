"""A bill can be split into parts that sum to it, or voided, while nothing is paid or reserved."""

from typing import Any

import pytest

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.bills.bill_helpers import (
    AMOUNTS,
    Admin,
    bill_of,
    history,
    hold,
    order_status,
    pay_shares,
    pay_whole,
    post_bill,
    read,
    refund_shares,
    release_shares,
    share,
    split,
)
from tests.integration.orders.order_helpers import RAMEN, RICE, open_order


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
async def test_invalid_split_is_refused(api: Api, tenant: Tenant, how: dict[str, Any], field: str) -> None:
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


async def test_paid_or_reserved_bill_cannot_be_split_or_voided(api: Api, tenant: Tenant) -> None:
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


async def test_bill_that_was_refunded_in_full_can_be_voided(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    await pay_shares(await hold(tenant, bill["id"], 100))
    await refund_shares(share(bill["id"], 40))
    assert (await read(api, tenant, bill["id"]))["paid_amount"] == 60
    await refund_shares(share(bill["id"], 60))
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


async def test_paid_order_can_be_cancelled_once_everything_is_refunded(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    paid = await api.pay(tenant, amount=990)  # a plain sale takes the place of a payment of this bill
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
    await refund_shares(share(bill["id"], 990))
    refunded_in_full = await read(api, tenant, bill["id"])
    assert (refunded_in_full["status"], refunded_in_full["paid_amount"], refunded_in_full["refunded_amount"]) == (
        "paid",
        990,
        990,
    )
    assert refunded_in_full["balance_amount"] == 0
    cancelled = await api.post(f"/orders/{order['id']}/cancel", as_=tenant)
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")

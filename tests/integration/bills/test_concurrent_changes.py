"""When two people change an order or bill concurrently and the changes exclude each other, exactly one succeeds."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.factories import CASH
from tests.harness import Answer, Api
from tests.integration.bills.bill_helpers import bill_of, combine, post_bill, read, split
from tests.integration.orders.order_helpers import RICE, open_order
from tests.integration.refunds.refund_helpers import RefundMaker

ROUNDS = 8
Ask = Callable[[Api, RefundMaker, str], Awaitable[Answer]]


async def void(api: Api, refunds: RefundMaker, bill_id: str) -> Answer:
    return await api.post(f"/bills/{bill_id}/void", as_=refunds.tenant)


async def halve(api: Api, refunds: RefundMaker, bill_id: str) -> Answer:
    return await split(api, refunds.tenant, bill_id, parts=2)


async def pay(api: Api, refunds: RefundMaker, bill_id: str) -> Answer:
    return await api.pay(refunds.tenant, amount=990, bill_id=bill_id)


PAIRS = [(void, pay), (halve, pay), (void, halve), (halve, halve), (void, void), (pay, pay)]


def is_done(answer: Answer) -> bool:
    assert answer.status in (200, 201, 409), answer.body
    return answer.status != 409


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda ask: ask.__name__)
async def test_two_concurrent_changes_of_a_bill_have_one_winner(
    api: Api, refunds: RefundMaker, one: Ask, other: Ask
) -> None:
    for number in range(ROUNDS):
        bill = await bill_of(api, refunds.tenant, (await open_order(api, refunds.tenant))["id"])
        asked = (one, other) if number % 2 else (other, one)
        answers = await asyncio.gather(*(ask(api, refunds, bill["id"]) for ask in asked))
        assert sorted(is_done(answer) for answer in answers) == [False, True]
        now = await read(api, refunds.tenant, bill["id"])
        assert (now["status"] == "voided") == (now["reserved_amount"] == 0)
        parts = (await api.get(f"/bills?parent_bill_id={bill['id']}", as_=refunds.tenant)).body["data"]
        assert sum(part["total_amount"] for part in parts) in (0, 990)


async def test_bill_created_during_a_change_has_the_orders_final_amounts(api: Api, refunds: RefundMaker) -> None:
    for _ in range(ROUNDS):
        order = await open_order(api, refunds.tenant)
        changed, billed = await asyncio.gather(
            api.call(
                "PATCH", f"/orders/{order['id']}", {"version": order["version"], "items": [RICE]}, as_=refunds.tenant
            ),
            post_bill(api, refunds.tenant, order["id"]),
        )
        now = (await api.get(f"/orders/{order['id']}", as_=refunds.tenant)).body
        assert billed.status == 201
        assert billed.body["total_amount"] == now["total_amount"]
        assert (changed.status == 200) == (now["total_amount"] == 135)


async def test_order_billed_and_cancelled_concurrently_has_exactly_one_outcome(api: Api, refunds: RefundMaker) -> None:
    for _ in range(ROUNDS):
        order = await open_order(api, refunds.tenant)
        answers = await asyncio.gather(
            api.post(f"/orders/{order['id']}/cancel", as_=refunds.tenant), post_bill(api, refunds.tenant, order["id"])
        )
        assert sorted(is_done(answer) for answer in answers) == [False, True]


async def test_refunded_order_completed_and_cancelled_concurrently_changes_once(api: Api, refunds: RefundMaker) -> None:
    for _ in range(ROUNDS):
        bill = await bill_of(api, refunds.tenant, (await open_order(api, refunds.tenant))["id"])
        await refunds.refunded(await refunds.paid(CASH, amount=990, bill_id=bill["id"]))
        path = f"/orders/{bill['order_ids'][0]}"
        answers = await asyncio.gather(
            *(api.post(f"{path}/{verb}", as_=refunds.tenant) for verb in ("complete", "cancel", "complete", "cancel"))
        )
        assert sorted(is_done(answer) for answer in answers) == [False, False, False, True]


async def test_concurrent_combines_of_the_same_orders_create_one_bill(api: Api, refunds: RefundMaker) -> None:
    ids = [(await open_order(api, refunds.tenant))["id"] for _ in range(3)]
    answers = await asyncio.gather(
        combine(api, refunds.tenant, ids[0], ids[1]),
        combine(api, refunds.tenant, ids[1], ids[2]),
        combine(api, refunds.tenant, ids[2], ids[0]),
        *(post_bill(api, refunds.tenant, order_id) for order_id in ids),
    )
    assert Counter(is_done(answer) for answer in answers)[True] >= 1
    live: list[str] = []
    for order_id in ids:
        order: dict[str, Any] = (await api.get(f"/orders/{order_id}", as_=refunds.tenant)).body
        assert len(order["bill_ids"]) <= 1
        live += order["bill_ids"]
    billed = [await read(api, refunds.tenant, bill_id) for bill_id in set(live)]
    assert sorted(order_id for bill in billed for order_id in bill["order_ids"]) == sorted(
        order_id for order_id in ids if any(order_id in bill["order_ids"] for bill in billed)
    )


async def test_a_conflict_is_not_stored_for_its_idempotency_key(api: Api, refunds: RefundMaker) -> None:
    """A request that was refused because of a concurrent change may be repeated later with the same key."""
    order = await open_order(api, refunds.tenant)
    bill = await bill_of(api, refunds.tenant, order["id"])
    assert (await post_bill(api, refunds.tenant, order["id"], key="mine")).status == 409
    code = {"type": "qr", "mode": "cpm"}
    payment = await api.pay(refunds.tenant, amount=100, bill_id=bill["id"], method=code)
    assert (await split(api, refunds.tenant, bill["id"], key="mine", parts=2)).status == 409
    await api.post(f"/payments/{payment.body['id']}/cancel", {}, as_=refunds.tenant)
    parts = await split(api, refunds.tenant, bill["id"], key="mine", parts=2)
    assert parts.status == 201
    for part in parts.body["data"]:
        await void(api, refunds, part["id"])
    assert (await post_bill(api, refunds.tenant, order["id"], key="mine")).status == 201
    again = await post_bill(api, refunds.tenant, order["id"], key="mine")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")

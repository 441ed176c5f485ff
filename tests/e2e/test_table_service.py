"""Play an evening of orders, bills and refunds through API, broker, worker, beat and provider, over HTTP only.

Together these tests take every transition in the tables of orders, bills and refunds. The last test checks that they did.
"""

from typing import Any

import pytest
import uuid_utils

from tests.factories import WHY
from tests.harness import Answer
from tests.live_stack import RECOVERY_SECONDS, LiveStack
from tests.polling import eventually
from workflows.bills.states import BILL
from workflows.orders.states import ORDER
from workflows.refunds.states import REFUND
from workflows.state_machine import StateMachine

WITHIN_SECONDS = RECOVERY_SECONDS
RAMEN = {"name": "Ramen", "quantity": 2, "unit_price": 450, "tax_rate": "0.10"}  # 990 yen with tax
CASH, CARD = {"type": "cash"}, {"type": "card", "result": "approved"}
QR = {"type": "qr", "mode": "cpm"}


async def post(live: LiveStack, path: str, body: Any = None, *, until: int = 201) -> dict[str, Any]:
    """Send a POST, assert that it is answered with status ``until``, and return the body."""
    answer = await live.api.post(path, body, as_=live.staff, key=uuid_utils.uuid7().hex)
    assert answer.status == until, answer.raw
    found: dict[str, Any] = answer.body
    return found


async def wait_for_status(live: LiveStack, path: str, status: str) -> dict[str, Any]:
    """Wait until the resource at ``path`` has ``status``, and return it."""

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = (await live.api.get(path, as_=live.staff)).body
        return found

    return await eventually(look, until=lambda body: body["status"] == status, within=WITHIN_SECONDS)


async def order(live: LiveStack, **fields: Any) -> dict[str, Any]:
    return await post(live, "/orders", {"order_type": "dine_in", "items": [RAMEN], "submit": True, **fields})


async def bill(live: LiveStack) -> dict[str, Any]:
    """Create an order and return its bill of 990 yen."""
    return await post(live, "/bills", {"order_id": (await order(live))["id"]})


async def pay(
    live: LiveStack, bill_id: str, amount: int, method: dict[str, Any], *, until: str = "completed", **fields: Any
) -> dict[str, Any]:
    body = {"amount": amount, "method": method, "bill_id": bill_id, **fields}
    payment = await post(live, "/payments", body)
    return await wait_for_status(live, f"/payments/{payment['id']}", until)


async def make_refund(
    live: LiveStack, payment: dict[str, Any], *, until: str = "completed", **fields: Any
) -> dict[str, Any]:
    if payment["processing_mode"] == "external":  # the terminal has refunded it itself, and reports that
        fields["report"] = {"result": "approved"}
    refund = await post(live, f"/payments/{payment['id']}/refund", {**WHY, **fields})
    assert refund["status"] == "pending"
    return await wait_for_status(live, f"/refunds/{refund['id']}", until)


async def movements(live: LiveStack, payment_id: str) -> list[tuple[str, int]]:
    """Return the movements of a payment in the provider's ledger."""
    return [
        (row["kind"], row["amount"])
        for row in (await live.sandbox("GET", f"/control/ledger/{payment_id}")).body["data"]
    ]


async def test_a_bill_split_in_three_is_paid_in_three_ways_and_refunded_in_part(live: LiveStack) -> None:
    whole = await bill(live)
    shares = (await post(live, f"/bills/{whole['id']}/split", {"parts": 3}))["data"]
    assert [share["total_amount"] for share in shares] == [330, 330, 330]
    paid = [
        await pay(live, share["id"], 330, method, tip_amount=tip)
        for share, method, tip in zip(shares, (CASH, QR, CARD), (0, 50, 0), strict=True)
    ]
    sold = await wait_for_status(live, f"/orders/{whole['order_ids'][0]}", "paid")
    assert sold["bill_ids"] == [share["id"] for share in shares]
    for payment, amount in zip(paid, (100, 100, 100), strict=True):
        refund = await make_refund(live, payment, amount=amount)
        assert (refund["amount"], refund["outcome_known"]) == (amount, True)
    assert await movements(live, paid[1]["id"]) == [("charge", 380), ("refund", 100)]
    rest = await make_refund(live, paid[1])
    assert rest["amount"] == 280
    last = await wait_for_status(live, f"/payments/{paid[1]['id']}", "refunded")
    assert (last["refunded_amount"], last["captured_amount"]) == (380, 380)
    assert (await post(live, f"/orders/{sold['id']}/complete", until=200))["status"] == "completed"


async def test_a_fully_refunded_bill_is_unpaid_again_and_can_be_voided_with_its_order(live: LiveStack) -> None:
    half = await bill(live)
    payment = await pay(live, half["id"], 490, QR)
    assert (await wait_for_status(live, f"/bills/{half['id']}", "partially_paid"))["balance_amount"] == 500
    await make_refund(live, payment, amount=90)
    assert (await wait_for_status(live, f"/bills/{half['id']}", "partially_paid"))["paid_amount"] == 400
    await make_refund(live, payment)
    assert (await wait_for_status(live, f"/bills/{half['id']}", "unpaid"))["paid_amount"] == 0
    assert (await post(live, f"/bills/{half['id']}/void", until=200))["status"] == "voided"
    cancelled = await post(live, f"/orders/{half['order_ids'][0]}/cancel", until=200)
    assert cancelled["status"] == "cancelled"


async def test_an_order_whose_two_payments_were_refunded_can_be_cancelled(live: LiveStack) -> None:
    mine = await bill(live)
    paid = [await pay(live, mine["id"], amount, QR) for amount in (400, 590)]
    assert (await wait_for_status(live, f"/bills/{mine['id']}", "paid"))["paid_at"] is not None
    await wait_for_status(live, f"/orders/{mine['order_ids'][0]}", "paid")
    for payment in paid:
        await make_refund(live, payment)
    given_back = await wait_for_status(live, f"/bills/{mine['id']}", "paid")
    assert (given_back["refunded_amount"], given_back["balance_amount"]) == (990, 0)
    assert (await post(live, f"/orders/{mine['order_ids'][0]}/cancel", until=200))["status"] == "cancelled"


async def test_a_draft_order_can_be_submitted_or_cancelled(live: LiveStack) -> None:
    draft = await order(live, submit=False)
    assert draft["status"] == "draft"
    assert (await post(live, f"/orders/{draft['id']}/submit", until=200))["status"] == "open"
    other = await order(live, submit=False)
    assert (await post(live, f"/orders/{other['id']}/cancel", until=200))["status"] == "cancelled"


async def test_a_refund_that_the_provider_declined_can_be_requested_again(live: LiveStack) -> None:
    payment = await pay(live, (await bill(live))["id"], 990, QR)
    refused = await make_refund(live, payment, until="failed", metadata={"sandbox": "decline:refund_window_closed"})
    assert refused["failure_code"] == "refund_window_closed"
    assert (await make_refund(live, payment))["amount"] == 990
    assert await movements(live, payment["id"]) == [("charge", 990), ("refund", 990)]


async def test_a_refund_with_an_unknown_outcome_stays_reserved_until_an_inquiry_decides_it(live: LiveStack) -> None:
    payment = await pay(live, (await bill(live))["id"], 990, QR)
    lost = {
        "amount": 300,
        "metadata": {"sandbox": "timeout_after_charge+inquiry_unavailable:4000"},
    }  # the outcome is unknown for two seconds
    refund = await post(live, f"/payments/{payment['id']}/refund", {**WHY, **lost})

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = (await live.api.get(f"/refunds/{refund['id']}", as_=live.staff)).body
        return found

    doubted = await eventually(look, until=lambda body: not body["outcome_known"], within=WITHIN_SECONDS)
    assert doubted["status"] == "processing"
    refused = await live.api.post(
        f"/payments/{payment['id']}/refund", {**WHY, "amount": 691}, as_=live.staff, key=uuid_utils.uuid7().hex
    )
    assert (refused.status, "690" in refused.details[0]["issue"]) == (422, True)
    await wait_for_status(live, f"/refunds/{refund['id']}", "completed")
    assert await movements(live, payment["id"]) == [("charge", 990), ("refund", 300)]
    told = (await live.api.get(f"/payments/{payment['id']}/events", as_=live.staff)).body["data"]
    of_refund = [entry for entry in told if entry.get("refund_id") == refund["id"]]
    assert "inquiry" in [entry.get("kind") for entry in of_refund]


async def test_a_cancel_that_comes_too_late_is_refunded_automatically(live: LiveStack) -> None:
    mine = await bill(live)
    body = {
        "amount": 990,
        "method": QR,
        "bill_id": mine["id"],
        "on_too_late": "refund",
        # The provider has charged it, but reports that only when asked to withdraw it. Until then it can be cancelled.
        "metadata": {"sandbox": "timeout_after_charge+inquiry_unavailable:600000"},
    }
    payment = await post(live, "/payments", body)
    await wait_for_status(live, f"/payments/{payment['id']}", "processing")
    asked = await post(live, f"/payments/{payment['id']}/cancel", {"reason": "changed her mind"}, until=200)
    assert asked["status"] == "processing"
    done = await wait_for_status(live, f"/payments/{payment['id']}", "refunded")
    assert (done["cancel_outcome"], done["refunded_amount"]) == ("too_late", 990)
    (refund,) = (await live.api.get(f"/payments/{payment['id']}/refunds", as_=live.staff)).body["data"]
    assert (refund["status"], refund["reason"], refund["amount"]) == ("completed", "cancel came too late", 990)
    assert await movements(live, payment["id"]) == [("charge", 990), ("refund", 990)]
    free = await wait_for_status(live, f"/bills/{mine['id']}", "unpaid")
    assert (free["paid_amount"], free["refunded_amount"], free["balance_amount"]) == (0, 0, 990)
    await pay(live, mine["id"], 990, CASH)
    await wait_for_status(live, f"/bills/{mine['id']}", "paid")
    await wait_for_status(live, f"/orders/{mine['order_ids'][0]}", "paid")


async def test_the_timeline_names_the_actor_of_each_event_of_payment_refund_and_bill(live: LiveStack) -> None:
    mine = await bill(live)
    payment = await pay(live, mine["id"], 990, QR)
    refund = await make_refund(live, payment)
    told = (await live.api.get(f"/payments/{payment['id']}/events", as_=live.staff)).body["data"]
    moves = [
        (
            "refund" if "refund_id" in entry else "bill" if "bill_id" in entry else "payment",
            entry["event"],
            entry["caller_type"],
        )
        for entry in told
        if entry["type"] in ("transition", "remark")
    ]
    by_worker = [
        ("payment", "claim", "worker"),
        ("payment", "complete", "worker"),
        ("bill", "pay_whole", "worker"),
        ("refund", "claim", "worker"),
        ("refund", "complete", "worker"),
        ("payment", "refund", "worker"),
        ("bill", "give_back_paid", "worker"),
    ]
    by_staff = [("payment", "create", "user"), ("bill", "reserve", "user"), ("refund", "create", "user")]
    assert sorted(moves) == sorted(by_staff + by_worker)
    assert {entry["caller_id"] for entry in told if entry.get("caller_type") == "user"} == {"usr_staff"}
    workers = {entry["caller_id"] for entry in told if entry.get("caller_type") == "worker"}
    assert all(name.startswith("worker-") for name in workers)
    assert {entry["refund_id"] for entry in told if "refund_id" in entry} == {refund["id"]}
    assert [entry["at"] for entry in told] == sorted(entry["at"] for entry in told)


async def asked(live: LiveStack, path: str, body: Any = None) -> Answer:
    return await live.api.post(path, body, as_=live.staff, key=uuid_utils.uuid7().hex)


async def test_late_commands_are_refused_with_the_status_that_forbids_them(live: LiveStack) -> None:
    mine = await bill(live)
    payment = await pay(live, mine["id"], 990, CASH)
    order_id = mine["order_ids"][0]
    await wait_for_status(live, f"/orders/{order_id}", "paid")
    for path, body, status in (
        (f"/orders/{order_id}/submit", None, "paid"),
        (f"/orders/{order_id}/cancel", None, "paid"),
        (f"/bills/{mine['id']}/void", None, "paid"),
        (f"/bills/{mine['id']}/split", {"parts": 2}, "paid"),
        ("/bills", {"order_id": order_id}, "paid"),
        (f"/payments/{payment['id']}/cancel", {}, "completed"),
    ):
        answer = await asked(live, path, body)
        assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION"), path
        assert status in answer.details[0]["issue"], answer.details
    more = await asked(live, "/payments", {"amount": 1, "method": CASH, "bill_id": mine["id"]})
    assert (more.status, more.code) == (409, "BALANCE_UNAVAILABLE")
    assert {"field": "balance_amount", "issue": "0"} in more.details


JOURNEYS = (
    test_a_bill_split_in_three_is_paid_in_three_ways_and_refunded_in_part,
    test_a_fully_refunded_bill_is_unpaid_again_and_can_be_voided_with_its_order,
    test_an_order_whose_two_payments_were_refunded_can_be_cancelled,
    test_a_draft_order_can_be_submitted_or_cancelled,
    test_a_refund_that_the_provider_declined_can_be_requested_again,
)


async def never_taken(live: LiveStack, machine: StateMachine) -> set[tuple[str, str]]:
    rows = await live.sql(
        f"SELECT DISTINCT from_status, to_status FROM {machine.name}_history WHERE from_status <> to_status"
    )
    return set(machine.edges()) - {(row["from_status"], row["to_status"]) for row in rows}


@pytest.mark.parametrize("machine", [ORDER, BILL, REFUND], ids=lambda machine: machine.name)
async def test_the_journeys_of_this_module_take_every_status_change(live: LiveStack, machine: StateMachine) -> None:
    if await never_taken(live, machine):  # this test was run alone
        for journey in JOURNEYS:
            await journey(live)
    assert await never_taken(live, machine) == set()

"""For each bill status, every HTTP operation is accepted or refused as ``BillStatus``'s transition table says."""

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from tests.factories import CASH, QR
from tests.harness import Answer, Api
from tests.integration.bills.bill_helpers import Admin, bill_of, read, split
from tests.integration.orders.order_helpers import open_order
from tests.integration.refunds.refund_helpers import RefundMaker
from workflows.bills.states import BILL, BillStatus

TOTAL = 990
Ask = Callable[[Api, RefundMaker, str], Awaitable[Answer]]


async def bill_in(api: Api, refunds: RefundMaker, status: str) -> dict[str, Any]:
    """Create a bill and bring it to ``status`` by payments."""
    bill = await bill_of(api, refunds.tenant, (await open_order(api, refunds.tenant))["id"])
    paid = {"partially_paid": 400, "paid": TOTAL}.get(status)
    if paid:
        await refunds.paid(CASH, amount=paid, bill_id=bill["id"])
    if status == "voided":
        await api.post(f"/bills/{bill['id']}/void", as_=refunds.tenant)
    found = await read(api, refunds.tenant, bill["id"])
    assert found["status"] == status
    return found


async def void(api: Api, refunds: RefundMaker, bill_id: str) -> Answer:
    return await api.post(f"/bills/{bill_id}/void", as_=refunds.tenant)


async def halve(api: Api, refunds: RefundMaker, bill_id: str) -> Answer:
    return await split(api, refunds.tenant, bill_id, parts=2)


async def pay_some(api: Api, refunds: RefundMaker, bill_id: str) -> Answer:
    return await api.pay(refunds.tenant, amount=1, bill_id=bill_id)


ALLOWED: dict[str, tuple[Ask, set[str], dict[str, str]]] = {
    "void": (void, {"unpaid"}, {}),
    "split": (halve, {"unpaid"}, {}),
    "pay": (pay_some, {"unpaid", "partially_paid"}, {"paid": "BALANCE_UNAVAILABLE"}),
}
"""Operation → statuses that allow it, and statuses with a specific error code: a paid bill has no balance."""


@pytest.mark.parametrize("what", ALLOWED)
@pytest.mark.parametrize("status", [str(status) for status in BillStatus])
async def test_bill_verb_is_done_or_refused_with_the_status(
    api: Api, refunds: RefundMaker, status: str, what: str
) -> None:
    bill = await bill_in(api, refunds, status)
    ask, allowed, codes = ALLOWED[what]
    answer = await ask(api, refunds, bill["id"])
    if status in allowed:
        assert answer.status in (200, 201)
        return
    assert (answer.status, answer.code) == (409, codes.get(status, "INVALID_STATUS_TRANSITION"))
    told = {detail["field"]: detail["issue"] for detail in answer.details}
    assert told["status"].startswith(f"The bill is {status}")
    assert await read(api, refunds.tenant, bill["id"]) == bill


async def test_bill_with_a_payment_in_progress_cannot_be_split_or_voided(api: Api, refunds: RefundMaker) -> None:
    bill = await bill_in(api, refunds, "unpaid")
    assert (await api.pay(refunds.tenant, amount=300, bill_id=bill["id"])).status == 201
    for ask in (void, halve):
        answer = await ask(api, refunds, bill["id"])
        assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")
        assert answer.details[0]["issue"].startswith("The bill is unpaid")
        assert {"field": "reserved_amount", "issue": "300"} in answer.details


async def test_the_history_of_a_bill_names_the_caller_of_each_event(
    api: Api, refunds: RefundMaker, admin: Admin
) -> None:
    bill = await bill_in(api, refunds, "unpaid")
    device, worker = ("device", refunds.tenant.device_id), ("worker", "worker-of-the-test")
    payment_id = await refunds.paid(QR, amount=400, bill_id=bill["id"])
    refund_id = await refunds.refunded(payment_id)
    await void(api, refunds, bill["id"])
    rows = await admin.execute(
        "SELECT event, caller_type, caller_id, reason FROM bill_history WHERE bill_id = %s ORDER BY version",
        [bill["id"]],
    )
    assert [tuple(row.values()) for row in await rows.fetchall()] == [
        ("create", *device, None),
        ("reserve", *device, payment_id),
        ("pay_part", *worker, payment_id),
        ("give_back", *worker, refund_id),
        ("void", *device, None),
    ]


@pytest.mark.parametrize("source", [str(status) for status in BillStatus])
async def test_raw_sql_moves_a_real_bill_along_no_other_edge(
    api: Api, refunds: RefundMaker, admin: Admin, source: str
) -> None:
    bill = await bill_in(api, refunds, source)
    legal = set(BILL.edges())
    for target in (str(status) for status in BillStatus):
        if source == target or (source, target) in legal:
            continue
        with pytest.raises(psycopg.errors.CheckViolation, match="bill"):
            await admin.execute(
                "UPDATE bills SET status = %s, version = version + 1 WHERE id = %s", [target, bill["id"]]
            )

"""For each order status, every HTTP operation is accepted or refused as ``OrderStatus``'s transition table says.

An order reaches each status by events (its bill is paid, its payment refunded), and its status is never written directly.
"""

from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.factories import CASH
from tests.harness import Answer, Api
from tests.integration.bills.bill_helpers import bill_of, post_bill
from tests.integration.orders.order_helpers import open_order, post_order
from tests.integration.refunds.refund_helpers import RefundMaker
from workflows.orders.change import CHANGEABLE
from workflows.orders.states import ORDER, OrderEvent, OrderStatus

Admin = psycopg.AsyncConnection[DictRow]
VERBS = {"submit": OrderEvent.SUBMIT, "cancel": OrderEvent.CANCEL, "complete": OrderEvent.FULFIL}
PARTICIPLES = {"submit": "submitted", "cancel": "cancelled", "complete": "completed"}


async def order_in(api: Api, refunds: RefundMaker, status: str, *, refunded_in_full: bool = True) -> dict[str, Any]:
    """Create an order and bring it to ``status``; refund a paid or completed one if ``refunded_in_full``."""
    tenant = refunds.tenant
    order = (await post_order(api, tenant, submit=status != "draft")).body
    if status in ("paid", "completed"):
        bill = await bill_of(api, tenant, order["id"])
        payment_id = await refunds.paid(CASH, amount=bill["total_amount"], bill_id=bill["id"])
    verb = {"completed": "complete", "cancelled": "cancel"}.get(status)
    if verb:  # an order that was fully refunded before cannot be completed
        assert (await api.post(f"/orders/{order['id']}/{verb}", as_=tenant)).status == 200
    if status in ("paid", "completed") and refunded_in_full:
        await refunds.refunded(payment_id)
    found: dict[str, Any] = (await api.get(f"/orders/{order['id']}", as_=tenant)).body
    assert found["status"] == status
    return found


def refuses(answer: Answer, status: str) -> None:
    assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION"), answer.body
    assert answer.details[0]["field"] == "status"
    assert answer.details[0]["issue"].startswith(f"The order is {status}")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", [str(status) for status in OrderStatus])
async def test_verb_takes_its_edge_or_is_refused_with_the_status(
    api: Api, refunds: RefundMaker, admin: Admin, status: str, verb: str
) -> None:
    order = await order_in(api, refunds, status, refunded_in_full=verb == "cancel")
    answer = await api.post(f"/orders/{order['id']}/{verb}", as_=refunds.tenant)
    target = ORDER.target(status, VERBS[verb])
    if target is None:
        refuses(answer, status)
        assert answer.body["error"]["message"] == f"This order is {status} and cannot be {PARTICIPLES[verb]}"
        assert (await api.get(f"/orders/{order['id']}", as_=refunds.tenant)).body == order
        return
    assert (answer.status, answer.body["status"], answer.body["version"]) == (200, target, order["version"] + 1)
    rows = await admin.execute(
        "SELECT event, from_status, to_status, caller_type, caller_id FROM order_history WHERE order_id = %s AND version = %s",
        [order["id"], answer.body["version"]],
    )
    assert await rows.fetchone() == {
        "event": VERBS[verb],
        "from_status": status,
        "to_status": target,
        "caller_type": "device",
        "caller_id": refunds.tenant.device_id,
    }


@pytest.mark.parametrize("status", [str(status) for status in OrderStatus])
async def test_order_can_be_changed_only_in_a_changeable_status_without_bills(
    api: Api, refunds: RefundMaker, status: str
) -> None:
    order = await order_in(api, refunds, status)
    answer = await api.call("PATCH", f"/orders/{order['id']}", {"table_number": "12"}, as_=refunds.tenant)
    if status in CHANGEABLE:
        assert (answer.status, answer.body["table_number"]) == (200, "12")
    else:
        refuses(answer, status)


@pytest.mark.parametrize("status", [str(status) for status in OrderStatus])
async def test_only_an_open_order_is_billed(api: Api, refunds: RefundMaker, status: str) -> None:
    order = await order_in(api, refunds, status)
    answer = await post_bill(api, refunds.tenant, order["id"])
    if status == "open":
        assert answer.status == 201
    else:
        refuses(answer, status)


async def test_paid_order_with_an_unrefunded_payment_cannot_be_cancelled(api: Api, refunds: RefundMaker) -> None:
    order = await order_in(api, refunds, "paid", refunded_in_full=False)
    answer = await api.post(f"/orders/{order['id']}/cancel", as_=refunds.tenant)
    refuses(answer, "paid")
    assert answer.details[1] == {"field": "payments", "issue": "1 of its payments are not fully refunded"}
    (payment,) = (await api.get(f"/payments?bill_id={order['bill_ids'][0]}", as_=refunds.tenant)).body["data"]
    await refunds.refunded(payment["id"], 989)
    refuses(await api.post(f"/orders/{order['id']}/cancel", as_=refunds.tenant), "paid")
    await refunds.refunded(payment["id"])
    assert (await api.post(f"/orders/{order['id']}/cancel", as_=refunds.tenant)).body["status"] == "cancelled"


async def test_paid_order_with_an_unrefunded_tip_cannot_be_cancelled(api: Api, refunds: RefundMaker) -> None:
    order = await open_order(api, refunds.tenant)
    bill = await bill_of(api, refunds.tenant, order["id"])
    payment_id = await refunds.paid(CASH, amount=990, tip_amount=10, bill_id=bill["id"])
    await refunds.refunded(payment_id, 990)
    refuses(await api.post(f"/orders/{order['id']}/cancel", as_=refunds.tenant), "paid")
    await refunds.refunded(payment_id)
    assert (await api.post(f"/orders/{order['id']}/cancel", as_=refunds.tenant)).status == 200


@pytest.mark.parametrize("source", [str(status) for status in OrderStatus])
async def test_raw_sql_moves_a_real_order_along_no_other_edge(
    api: Api, refunds: RefundMaker, admin: Admin, source: str
) -> None:
    order = await order_in(api, refunds, source)
    legal = set(ORDER.edges())
    for target in (str(status) for status in OrderStatus):
        if source == target or (source, target) in legal:
            continue
        with pytest.raises(psycopg.errors.CheckViolation, match="order"):
            await admin.execute(
                "UPDATE orders SET status = %s, version = version + 1 WHERE id = %s", [target, order["id"]]
            )

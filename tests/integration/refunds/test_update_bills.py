"""A refund lowers its payment's bill, the tip last, and the timeline shows it."""

from typing import Any

import pytest

from tests.factories import CASH, QR
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.bills.bill_helpers import bill_of, split
from tests.integration.orders.order_helpers import RAMEN, open_order
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, bill_events, bill_row, sums
from workflows.providers.base import Declined


async def new_bill(api: Api, refunds: RefundMaker, total: int, *, currency: str = "JPY") -> dict[str, Any]:
    item = {**RAMEN, "quantity": 1, "unit_price": total, "tax_rate": "0"}
    order = await open_order(api, refunds.tenant, items=[item], currency=currency)
    return await bill_of(api, refunds.tenant, order["id"])


async def order_status(api: Api, refunds: RefundMaker, bill: dict[str, Any]) -> str:
    status: str = (await api.get(f"/orders/{bill['order_ids'][0]}", as_=refunds.tenant)).body["status"]
    return status


async def test_a_refund_of_a_partly_paid_bill_lowers_what_is_paid_and_at_zero_it_is_unpaid(
    api: Api, refunds: RefundMaker, admin: Admin
) -> None:
    bill = await new_bill(api, refunds, 1_000)
    payment_id = await refunds.paid(QR, amount=600, bill_id=bill["id"])
    first = await refunds.refunded(payment_id, 200)
    row = await bill_row(admin, bill["id"])
    assert (row["status"], row["paid_amount"], row["refunded_amount"]) == ("partially_paid", 400, 0)
    second = await refunds.refunded(payment_id)
    row = await bill_row(admin, bill["id"])
    assert (row["status"], row["paid_amount"]) == ("unpaid", 0)
    assert await bill_events(admin, bill["id"], of=[payment_id, first, second]) == [
        ("reserve", "unpaid"),
        ("pay_part", "partially_paid"),
        ("give_back_part", "partially_paid"),
        ("give_back", "unpaid"),
    ]
    assert await refunds.paid(QR, amount=1_000, bill_id=bill["id"])
    assert (await bill_row(admin, bill["id"]))["status"] == "paid"


async def test_a_paid_bill_stays_paid_and_cannot_be_paid_twice(api: Api, refunds: RefundMaker, admin: Admin) -> None:
    bill = await new_bill(api, refunds, 1_000)
    payment_id = await refunds.paid(QR, bill_id=bill["id"])
    assert await order_status(api, refunds, bill) == "paid"
    await refunds.refunded(payment_id, 300)
    row = await bill_row(admin, bill["id"])
    assert (row["status"], row["paid_amount"], row["refunded_amount"]) == ("paid", 1_000, 300)
    refused = await api.pay(refunds.tenant, amount=1, bill_id=bill["id"])
    assert (refused.status, refused.code) == (409, "BALANCE_UNAVAILABLE")
    assert {"field": "balance_amount", "issue": "0"} in refused.details
    cancel = await api.post(f"/orders/{bill['order_ids'][0]}/cancel", as_=refunds.tenant)
    assert cancel.status == 409
    await refunds.refunded(payment_id)
    cancelled = await api.post(f"/orders/{bill['order_ids'][0]}/cancel", as_=refunds.tenant)
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")


async def test_tip_is_refunded_last(api: Api, refunds: RefundMaker, admin: Admin) -> None:
    bill = await new_bill(api, refunds, 2_000)
    payment_id = await refunds.paid(QR, bill_id=bill["id"], tip_amount=150)
    for refund, left in ((900, 100), (200, 0), (50, 0)):
        await refunds.refunded(payment_id, refund)
        assert (await bill_row(admin, bill["id"]))["paid_amount"] == left
    assert await sums(admin, payment_id) == ("refunded", 1_150, 1_150)


async def test_grouped_refunds_reduce_the_amount_first_and_the_tip_last(
    api: Api, refunds: RefundMaker, admin: Admin
) -> None:
    bill = await new_bill(api, refunds, 1_000)
    payment_id = await refunds.paid(QR, bill_id=bill["id"], tip_amount=200)
    await refunds.process(*[await refunds.pending(payment_id, 400) for _ in range(3)])
    row = await bill_row(admin, bill["id"])
    assert (row["status"], row["refunded_amount"]) == ("paid", 1_000)
    assert await sums(admin, payment_id) == ("refunded", 1_200, 1_200)


async def test_grouped_refunds_lower_a_partly_paid_bill_at_most_by_its_paid_amount(
    api: Api, refunds: RefundMaker, admin: Admin
) -> None:
    bill = await new_bill(api, refunds, 2_000)
    await refunds.paid(CASH, amount=600, bill_id=bill["id"])
    payment_id = await refunds.paid(QR, bill_id=bill["id"], tip_amount=200)
    await refunds.process(*[await refunds.pending(payment_id, 400) for _ in range(3)])
    row = await bill_row(admin, bill["id"])
    assert (row["status"], row["paid_amount"]) == ("partially_paid", 600)


async def test_failed_refund_does_not_change_the_bill(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    bill = await new_bill(api, refunds, 1_000)
    payment_id = await refunds.paid(QR, bill_id=bill["id"])
    provider.refunds.append(Declined("no"))
    before = await bill_row(admin, bill["id"])
    await refunds.refunded(payment_id)
    assert await bill_row(admin, bill["id"]) == before


@pytest.mark.parametrize(("currency", "total", "parts"), [("JPY", 100, 3), ("USD", 1_999, 3), ("KWD", 12_345, 4)])
async def test_refunded_amounts_are_exact_in_every_currency(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin, currency: str, total: int, parts: int
) -> None:
    bill = await new_bill(api, refunds, total, currency=currency)
    shares = (await split(api, refunds.tenant, bill["id"], parts=parts)).body["data"]
    due = [share["total_amount"] for share in shares]
    assert (sum(due), max(due) - min(due) <= 1, due == sorted(due, reverse=True)) == (total, True, True)
    paid = [
        await refunds.paid(QR, amount=share["total_amount"], currency=currency, bill_id=share["id"]) for share in shares
    ]
    assert sorted(provider.moved.values(), reverse=True) == due
    assert await order_status(api, refunds, bill) == "paid"
    given = await refunds.refunded(paid[0], due[0] - 1)
    last = await refunds.refunded(paid[0])
    assert (provider.moved[f"{given}:1"], provider.moved[f"{last}:1"]) == (due[0] - 1, 1)
    assert await sums(admin, paid[0]) == ("refunded", due[0], due[0])
    shown = (await api.get(f"/refunds/{last}", as_=refunds.tenant)).body
    assert (shown["amount"], shown["currency"]) == (1, currency)


async def test_refund_has_the_currency_of_its_payment_and_bill(api: Api, refunds: RefundMaker) -> None:
    bill = await new_bill(api, refunds, 1_000, currency="USD")
    refused = await api.pay(refunds.tenant, amount=10, currency="JPY", bill_id=bill["id"])
    assert (refused.status, refused.details[0]["field"]) == (422, "currency")


async def test_timeline_lists_the_payment_its_refunds_and_the_bill_in_order(api: Api, refunds: RefundMaker) -> None:
    bill = await new_bill(api, refunds, 1_000)
    payment_id = await refunds.paid(QR, amount=600, bill_id=bill["id"])
    other = await refunds.paid(CASH, amount=100, bill_id=bill["id"])
    refund_id = await refunds.refunded(payment_id)
    events_seen = (await api.get(f"/payments/{payment_id}/events", as_=refunds.tenant)).body["data"]
    assert [entry["at"] for entry in events_seen] == sorted(entry["at"] for entry in events_seen)
    of_bill = [entry for entry in events_seen if "bill_id" in entry]
    assert [(entry["event"], entry["reason"]) for entry in of_bill] == [
        ("reserve", payment_id),
        ("pay_part", payment_id),
        ("give_back_part", refund_id),
    ]
    assert {entry["bill_id"] for entry in of_bill} == {bill["id"]}
    of_refund = [entry for entry in events_seen if "refund_id" in entry]
    assert [entry["event"] for entry in of_refund if entry["type"] == "transition"] == ["create", "claim", "complete"]
    assert [entry["type"] for entry in of_refund].count("attempt_answered") == 1
    assert other not in str(events_seen)

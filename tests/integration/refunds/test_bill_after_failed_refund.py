"""After a late cancel, the guest still owes the bill, and the payment is refunded, or retained if the refund fails."""

import logging
from typing import Any

import pytest

from tests.factories import CASH, QR, TERMINAL
from tests.fakes import FakeProvider
from tests.harness import Answer, Api
from tests.integration.bills.bill_helpers import bill_of, split
from tests.integration.payments.evidence import all_of
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, bill_events, bill_row, sums
from tests.integration.refunds.test_needs_action import report
from tests.integration.refunds.test_refund_late_cancel import cancelled_too_late, refunds_of
from tests.integration.refunds.test_update_bills import new_bill, order_status
from workflows.invariants.rules.bills import RULES
from workflows.payments.check_request import PaymentRequest
from workflows.providers.base import Declined

SALES = {"provider": QR, "cash": CASH, "terminal": TERMINAL}
each_sale = pytest.mark.parametrize("sale", SALES.values(), ids=SALES)


async def withdrawn(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin, sale: PaymentRequest, **changes: Any
) -> tuple[str, str]:
    """Create a payment with a late cancel; return its id and its refund's id."""
    if sale is QR:
        payment_id = await cancelled_too_late(refunds, provider, **changes)
    else:
        payment_id = await refunds.payments.pending(sale, **changes)
        await refunds.payments.cancel(payment_id, on_too_late="refund")
    (refund,) = await refunds_of(admin, payment_id)
    return payment_id, refund["id"]


async def end_refund(
    refunds: RefundMaker, provider: FakeProvider, sale: PaymentRequest, refund_id: str, *, well: bool
) -> None:
    """Complete the refund if ``well``, otherwise let it fail."""
    if sale is not QR:
        await report(refunds, refund_id, {"result": "approved" if well else "declined"})
    elif not well:
        provider.refunds.append(Declined("refund_window_closed"))
    await refunds.process(refund_id)


async def amounts(admin: Admin, bill: dict[str, Any]) -> tuple[str, int, int, int]:
    row = await bill_row(admin, bill["id"])
    return row["status"], row["paid_amount"], row["reserved_amount"], row["refunded_amount"]


async def check_bill_invariants(admin: Admin, bill: dict[str, Any]) -> None:
    """Assert that no row of the bill's store breaks an invariant about bills."""
    tables = ("payments", "bills", "orders")
    of_store = " UNION ALL ".join(f"SELECT id FROM {table} WHERE store_id = %(store)s" for table in tables)
    for rule in RULES:
        query = f"SELECT * FROM ({rule.violations.replace('%', '%%')}) AS v WHERE v.id IN ({of_store})"
        found = await (await admin.execute(query.encode(), {"store": bill["store_id"]})).fetchall()
        assert found == [], rule.name


async def complete(api: Api, refunds: RefundMaker, bill: dict[str, Any]) -> Answer:
    return await api.post(f"/orders/{bill['order_ids'][0]}/complete", as_=refunds.tenant)


@each_sale
async def test_bill_can_be_paid_in_cash_while_the_late_payment_is_refunded(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin, sale: PaymentRequest
) -> None:
    bill = await new_bill(api, refunds, 1_000)
    payment_id, refund_id = await withdrawn(refunds, provider, admin, sale, bill_id=bill["id"], tip_amount=100)
    assert await amounts(admin, bill) == ("unpaid", 0, 0, 0)
    assert await order_status(api, refunds, bill) == "open"
    assert await bill_events(admin, bill["id"], of=[payment_id]) == [("reserve", "unpaid"), ("release", "unpaid")]
    assert (await complete(api, refunds, bill)).status == 409
    await refunds.paid(CASH, bill_id=bill["id"])
    assert await amounts(admin, bill) == ("paid", 1_000, 0, 0)
    await end_refund(refunds, provider, sale, refund_id, well=True)
    assert await amounts(admin, bill) == ("paid", 1_000, 0, 0)
    assert await sums(admin, payment_id) == ("refunded", 1_100, 1_100)
    await check_bill_invariants(admin, bill)
    assert (await complete(api, refunds, bill)).body["status"] == "completed"


@each_sale
async def test_only_the_other_of_two_payments_on_a_bill_counts(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin, sale: PaymentRequest
) -> None:
    bill = await new_bill(api, refunds, 1_000)
    await refunds.paid(CASH, amount=600, bill_id=bill["id"])
    _, refund_id = await withdrawn(refunds, provider, admin, sale, amount=400, bill_id=bill["id"])
    assert await amounts(admin, bill) == ("partially_paid", 600, 0, 0)
    await end_refund(refunds, provider, sale, refund_id, well=True)
    assert await amounts(admin, bill) == ("partially_paid", 600, 0, 0)
    await check_bill_invariants(admin, bill)


@each_sale
async def test_failed_refund_pays_the_bill_with_the_retained_payment(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin, sale: PaymentRequest
) -> None:
    bill = await new_bill(api, refunds, 1_000)
    payment_id, refund_id = await withdrawn(refunds, provider, admin, sale, bill_id=bill["id"])
    await end_refund(refunds, provider, sale, refund_id, well=False)
    assert await amounts(admin, bill) == ("paid", 1_000, 0, 0)
    assert await order_status(api, refunds, bill) == "paid"
    (row,) = await all_of(admin, b"SELECT * FROM payments WHERE id = %s", payment_id)
    assert (row["off_bill"], row["needs_review"], row["needs_action"]) == (False, False, False)
    await check_bill_invariants(admin, bill)
    again: dict[str, Any] = {"report": {"result": "approved"}} if sale is TERMINAL else {}
    await refunds.refunded(payment_id, 300, **again)
    assert await amounts(admin, bill) == ("paid", 1_000, 0, 300)
    await check_bill_invariants(admin, bill)


@each_sale
@pytest.mark.parametrize("other", ["paid in cash", "voided"])
async def test_failed_refund_requests_a_review_if_its_bill_owes_nothing(
    api: Api,
    refunds: RefundMaker,
    provider: FakeProvider,
    admin: Admin,
    caplog: pytest.LogCaptureFixture,
    *,
    sale: PaymentRequest,
    other: str,
) -> None:
    bill = await new_bill(api, refunds, 1_000)
    payment_id, refund_id = await withdrawn(refunds, provider, admin, sale, bill_id=bill["id"])
    if other == "voided":
        assert (await api.post(f"/bills/{bill['id']}/void", as_=refunds.tenant)).status == 200
    else:
        await refunds.paid(CASH, bill_id=bill["id"])
    before = await amounts(admin, bill)
    with caplog.at_level(logging.ERROR):
        await end_refund(refunds, provider, sale, refund_id, well=False)
    assert "payment.kept_off_bill" in {getattr(record, "event", None) for record in caplog.records}
    assert await amounts(admin, bill) == before
    found = (await api.get(f"/payments/{payment_id}", as_=refunds.tenant)).body
    assert (found["status"], found["needs_review"]) == ("completed", True)
    await check_bill_invariants(admin, bill)
    cancel = await api.post(f"/orders/{bill['order_ids'][0]}/cancel", as_=refunds.tenant)
    assert cancel.status == 409, "its money is still here"
    again: dict[str, Any] = {"report": {"result": "approved"}} if sale is TERMINAL else {}
    await refunds.refunded(payment_id, 400, **again)
    assert (await api.get(f"/payments/{payment_id}", as_=refunds.tenant)).body["needs_review"] is True
    await refunds.refunded(payment_id, **again)
    found = (await api.get(f"/payments/{payment_id}", as_=refunds.tenant)).body
    assert (found["status"], found["refunded_amount"], found["needs_review"]) == ("refunded", 1_000, False)
    assert await amounts(admin, bill) == before
    await check_bill_invariants(admin, bill)


async def test_fully_refunded_order_cannot_be_completed(api: Api, refunds: RefundMaker, admin: Admin) -> None:
    bill = await new_bill(api, refunds, 1_000)
    payment_id = await refunds.paid(QR, bill_id=bill["id"])
    refund_id = await refunds.pending(payment_id)
    for _ in ("being refunded", "refunded"):
        refused = await complete(api, refunds, bill)
        assert (refused.status, refused.code) == (409, "INVALID_STATUS_TRANSITION")
        assert refused.details[1]["field"] == "payments"
        await refunds.process(refund_id)
    assert (await api.post(f"/orders/{bill['order_ids'][0]}/cancel", as_=refunds.tenant)).status == 200


async def test_partly_refunded_order_can_be_completed(api: Api, refunds: RefundMaker) -> None:
    bill = await new_bill(api, refunds, 1_000)
    await refunds.refunded(await refunds.paid(QR, bill_id=bill["id"]), 999)
    assert (await complete(api, refunds, bill)).body["status"] == "completed"


async def test_fully_refunded_part_pays_no_order_and_can_be_billed_again(
    api: Api, refunds: RefundMaker, admin: Admin
) -> None:
    whole = await new_bill(api, refunds, 1_000)
    order_id = whole["order_ids"][0]
    first, second = (await split(api, refunds.tenant, whole["id"], amounts=[400, 600])).body["data"]
    await refunds.refunded(await refunds.paid(QR, amount=400, bill_id=first["id"]))
    await refunds.paid(CASH, amount=600, bill_id=second["id"])
    assert await order_status(api, refunds, whole) == "open"
    assert (await complete(api, refunds, whole)).status == 409
    await check_bill_invariants(admin, whole)
    again = await bill_of(api, refunds.tenant, order_id)
    assert again["total_amount"] == 400
    await refunds.paid(CASH, amount=400, bill_id=again["id"])
    assert await order_status(api, refunds, whole) == "paid"
    await check_bill_invariants(admin, whole)
    assert (await complete(api, refunds, whole)).body["status"] == "completed"
    await check_bill_invariants(admin, whole)

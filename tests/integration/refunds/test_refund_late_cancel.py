"""``on_too_late="refund"``: the transaction that records a late cancel also records the refund."""

import asyncio
from typing import Any

from tests.factories import QR
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import all_of
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, evidence, sums
from workflows.payments.states import PaymentStatus
from workflows.processing.due import find_due_refunds
from workflows.providers.base import Unknown

ALL_SERVICES = 5_000


async def cancelled_too_late(
    refunds: RefundMaker, provider: FakeProvider, *, asked: str | None = "refund", **changes: Any
) -> str:
    """Create a payment whose cancel arrives after its charge, and return its id.

    ``asked`` is the ``on_too_late`` of the cancel.
    """
    payment_id = await refunds.payments.pending(QR, **changes)
    provider.hold()
    provider.heard.clear()
    working = asyncio.ensure_future(refunds.payments.process(payment_id))
    await provider.heard.wait()
    await refunds.payments.cancel(payment_id, on_too_late=asked)
    provider.release()
    await working
    return payment_id


async def refunds_of(admin: Admin, payment_id: str) -> list[dict[str, Any]]:
    return await all_of(admin, b"SELECT * FROM refunds WHERE payment_id = %s ORDER BY id", payment_id)


async def test_late_cancel_records_a_full_refund_with_the_completed_payment(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await cancelled_too_late(refunds, provider, tip_amount=100)
    (refund,) = await refunds_of(admin, payment_id)
    assert (refund["status"], refund["amount"], refund["reason"]) == ("pending", 1_100, "cancel came too late")
    assert refund["staff_code"] == refunds.tenant.device_id
    assert await sums(admin, payment_id) == (PaymentStatus.COMPLETED, 1_100, 0)
    found = await evidence(admin, refund["id"])
    assert found.history[0]["at"] == found.row["created_at"]
    assert refund["id"] in {due.id for due in await find_due_refunds(limit=ALL_SERVICES)}
    await refunds.process(refund["id"])
    assert await sums(admin, payment_id) == ("refunded", 1_100, 1_100)


async def test_recording_a_late_cancel_twice_makes_one_refund(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await cancelled_too_late(refunds, provider)
    await asyncio.gather(*(refunds.payments.process(payment_id) for _ in range(5)))
    assert len(await refunds_of(admin, payment_id)) == 1


async def test_withdrawal_that_finds_a_charge_records_the_refund(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unknown("read time-out"))
    payment_id = await refunds.payments.pending(QR)
    await refunds.payments.process(payment_id)
    provider.moved[f"{payment_id}:1"] = 1_000
    await refunds.payments.cancel(payment_id, on_too_late="refund")
    await refunds.payments.process(payment_id)
    assert len(await refunds_of(admin, payment_id)) == 1
    assert await sums(admin, payment_id) == ("completed", 1_000, 0)


async def test_late_cancel_without_on_too_late_records_no_refund(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await cancelled_too_late(refunds, provider, asked=None)
    assert await refunds_of(admin, payment_id) == []
    assert await sums(admin, payment_id) == ("completed", 0, 0)


async def test_on_too_late_may_be_set_by_a_second_cancel(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unknown("read time-out"))
    payment_id = await refunds.payments.pending(QR)
    await refunds.payments.process(payment_id)
    provider.moved[f"{payment_id}:1"] = 1_000
    first = await refunds.payments.cancel(payment_id, reason="wrong amount")
    second = await refunds.payments.cancel(payment_id, reason="pays in cash", on_too_late="refund")
    third = await refunds.payments.cancel(payment_id, on_too_late="refund")
    assert (second["version"], third["version"]) == (first["version"] + 1, first["version"] + 1)
    assert (second["cancel_requested_at"], second["cancel_reason"]) == (first["cancel_requested_at"], "wrong amount")
    await refunds.payments.process(payment_id)
    assert len(await refunds_of(admin, payment_id)) == 1


async def test_on_too_late_may_be_set_with_the_payment(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await cancelled_too_late(refunds, provider, asked=None, on_too_late="refund")
    assert len(await refunds_of(admin, payment_id)) == 1


async def test_payment_that_was_never_cancelled_is_not_refunded(refunds: RefundMaker, admin: Admin) -> None:
    payment_id = await refunds.paid(QR, on_too_late="refund")
    assert await refunds_of(admin, payment_id) == []
    assert await sums(admin, payment_id) == ("completed", 0, 0)

"""A payment is cancelled at once before any call, through its provider during processing, and never once it is final."""

import asyncio
from dataclasses import replace

import pytest

from tests.conftest import MakeTenant
from tests.factories import CASH, QR, TERMINAL, PaymentMaker
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, evidence, seconds_until
from workflows.errors import InvalidStatusTransition, ResourceNotFound
from workflows.payments.cancel import cancel_payment
from workflows.providers.base import ActionRequired, Unavailable
from workflows.refunds.workload import PAYMENTS

CODE = {"type": "display_qr", "qr_content": "https://pay.example/1", "expires_at": "2026-11-23T09:05:00Z"}


async def waiting_code(payments: PaymentMaker, provider: FakeProvider) -> str:
    """Create a payment that waits for its customer to scan the QR code, and return its id."""
    provider.charges.append(ActionRequired(CODE, "r1"))
    payment_id = await payments.pending(replace(QR, method_mode="mpm"))
    await payments.process(payment_id)
    return payment_id


async def test_pending_payment_is_cancelled_at_once_without_a_call(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending()
    row = await payments.cancel(payment_id, reason="wrong amount")
    assert (row["status"], row["cancel_reason"], row["cancel_outcome"]) == ("cancelled", "wrong amount", "cancelled")
    found = await evidence(admin, payment_id)
    assert found.events == ["create", "claim", "cancel"]
    assert [entry["caller_id"] for entry in found.history] == [payments.tenant.device_id] * 3
    assert found.row["due_at"] is None
    await payments.process(payment_id)
    assert provider.calls == []


async def test_a_cancelled_payment_may_be_cancelled_again_and_nothing_changes(
    payments: PaymentMaker, admin: Admin
) -> None:
    payment_id = await payments.pending()
    first = await payments.cancel(payment_id)
    again = await payments.cancel(payment_id, reason="once more")
    assert (again["status"], again["version"], again["cancel_reason"]) == ("cancelled", first["version"], "requested")
    assert len((await evidence(admin, payment_id)).history) == first["version"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [(CASH, "completed"), (replace(TERMINAL, facts={"external_result": "declined"}), "failed")],
    ids=["completed", "failed"],
)
async def test_cancel_of_a_final_payment_is_refused_with_the_possible_events(
    payments: PaymentMaker, admin: Admin, request_: object, status: str
) -> None:
    payment_id = await payments.pending(request_)  # type: ignore[arg-type]
    await payments.process(payment_id)
    before = await evidence(admin, payment_id)
    with pytest.raises(InvalidStatusTransition) as raised:
        await payments.cancel(payment_id)
    possible = "refund" if status == "completed" else "nothing, this status is final"
    assert raised.value.details[0].issue == f"The payment is {status}; possible: {possible}"
    assert await evidence(admin, payment_id) == before


async def test_cancel_during_the_call_is_recorded_and_processed_after_it(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(ActionRequired(CODE, "r1"))
    payment_id = await payments.pending(replace(QR, method_mode="mpm"))
    provider.hold()
    working = asyncio.ensure_future(payments.process(payment_id))
    await provider.heard.wait()
    row = await payments.cancel(payment_id)
    assert row["status"] == "processing"
    assert row["cancel_requested_at"] is not None
    assert await seconds_until(admin, payment_id, "due_at") > 0, "the worker that is calling processes the cancel"
    provider.release()
    await working
    assert await seconds_until(admin, payment_id, "due_at") <= 0
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_outcome"]) == ("cancelled", "cancelled")
    assert [kind for kind, _ in provider.calls] == ["charge", "withdraw"]


async def test_cancel_after_the_charge_completes_the_payment_as_too_late(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending()
    provider.hold()
    working = asyncio.ensure_future(payments.process(payment_id))
    await provider.heard.wait()
    await payments.cancel(payment_id)
    provider.release()
    await working
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_outcome"]) == ("completed", "too_late")


async def test_a_cancelled_waiting_payment_is_withdrawn_and_its_qr_code_no_longer_shown(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await waiting_code(payments, provider)
    assert (await evidence(admin, payment_id)).row["next_action"] == CODE
    await payments.cancel(payment_id)
    assert await seconds_until(admin, payment_id, "due_at") <= 0
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["next_action"]) == ("cancelled", None)
    assert found.outcomes == ["withdrawn"]


async def test_a_payment_made_during_its_cancel_is_completed(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await waiting_code(payments, provider)
    provider.moved[f"{payment_id}:1"] = 1_000
    await payments.cancel(payment_id)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_outcome"]) == ("completed", "too_late")


async def test_cancel_between_two_retries_ends_the_payment(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unavailable("no connection"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    await payments.cancel(payment_id)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_outcome"]) == ("cancelled", "cancelled")
    assert len(provider.calls) == 1


async def test_a_second_cancel_of_a_processing_payment_writes_nothing(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await waiting_code(payments, provider)
    first = await payments.cancel(payment_id)
    second = await payments.cancel(payment_id)
    assert second["version"] == first["version"]


async def test_concurrent_cancels_and_claims_have_exactly_one_outcome(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    ids = [await payments.pending() for _ in range(60)]
    moves = [payments.process(*ids[start : start + 6]) for start in range(0, 60, 6)]
    moves += [payments.cancel(payment_id) for payment_id in ids]  # type: ignore[misc]
    await asyncio.gather(*moves, return_exceptions=True)
    for _ in range(2):
        await payments.process(*ids)
    charged = {reference.partition(":")[0] for reference in provider.moved}
    for payment_id in ids:
        found = await evidence(admin, payment_id)
        assert found.status == ("completed" if payment_id in charged else "cancelled")


async def test_cancel_of_another_tenants_payment_is_not_found(
    payments: PaymentMaker, make_tenant: MakeTenant, admin: Admin
) -> None:
    payment_id = await payments.pending()
    other = await make_tenant()
    with pytest.raises(ResourceNotFound):
        await cancel_payment(
            payment_id, caller=other.device, reason=None, on_too_late=None, request_id="req_1", payments=PAYMENTS
        )
    assert (await evidence(admin, payment_id)).status == "pending"

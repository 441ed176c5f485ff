"""A success that cannot be right does not complete a payment; a cancel reverses it at the provider."""

import asyncio

import psycopg
import pytest
from pydantic import SecretStr

from tests.factories import PaymentMaker, Tenant, time_passes
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.bills.bill_helpers import bill_of
from tests.integration.orders.order_helpers import RAMEN, open_order
from tests.integration.payments.evidence import Admin, evidence, seconds_until
from tests.integration.payments.payment_helpers import charge_in_progress
from tests.integration.refunds.refund_helpers import RefundMaker, bill_row
from tests.integration.sandbox.harness import KEY, Sandbox
from workflows.providers.base import Answer, Declined, NotFound, Succeeded, Unavailable, Unknown
from workflows.providers.registry import open_providers
from workflows.refunds.workload import PAYMENTS
from workflows.settings import Settings

NOT_BELIEVED = [Succeeded(400), Succeeded(1_000, fee=1_001), Succeeded(1_000, fee=-1), Succeeded(1_000, fee=2**63 - 1)]
IDS = ["part", "fee above its amount", "negative fee", "endless fee"]


async def impossible_success(payments: PaymentMaker, provider: FakeProvider, answer: Succeeded) -> str:
    """Create a payment whose provider answers with ``answer``, an impossible success, and return its id."""
    provider.charges.append(answer)
    payment_id = await payments.pending()
    await payments.process(payment_id)
    return payment_id


async def process_when_due(payments: PaymentMaker, admin: Admin, payment_id: str) -> None:
    """Advance time to the due time, and let a worker process the payment."""
    left = await seconds_until(admin, payment_id, "due_at")
    await time_passes(admin, payment_id, seconds=max(left, 0) + 0.1)
    await payments.process(payment_id)


@pytest.mark.parametrize("answer", NOT_BELIEVED, ids=IDS)
async def test_impossible_success_waits_for_a_review(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, answer: Succeeded
) -> None:
    payment_id = await impossible_success(payments, provider, answer)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["needs_review"], found.row["outcome_known"]) == ("processing", True, False)
    assert (found.row["due_at"], found.row["fee"], found.row["captured_amount"]) == (None, 0, 0)


@pytest.mark.parametrize("answer", NOT_BELIEVED, ids=IDS)
async def test_cancel_of_an_impossible_success_reverses_it_and_cancels_the_payment(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, answer: Succeeded
) -> None:
    payment_id = await impossible_success(payments, provider, answer)
    await payments.cancel(payment_id)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_outcome"], found.row["needs_review"]) == ("cancelled", "cancelled", False)
    assert (found.outcomes, found.kinds, provider.moved) == (["withdrawn"], ["reversal"], {})
    assert found.events == ["create", "claim", "request_review", "request_cancel", "cancel"]


async def test_cancel_during_the_charge_reverses_an_impossible_success(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Succeeded(400))
    payment_id, working = await charge_in_progress(payments, provider)
    await payments.cancel(payment_id, on_too_late="refund")
    provider.release()
    await working
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, provider.moved) == ("cancelled", {})


async def test_cancel_in_doubt_finds_a_partial_charge_and_reverses_it(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unknown("read time-out"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    provider.moved[f"{payment_id}:1"] = 400
    await payments.cancel(payment_id)
    for _ in range(2):
        await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, provider.moved) == ("cancelled", {})
    assert [kind for kind, _ in provider.calls] == ["charge", "withdraw", "reverse"]


@pytest.mark.parametrize("lost", [Unknown("read time-out"), Declined("no"), NotFound()])
async def test_lost_answer_to_a_reversal_leads_to_an_inquiry(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, lost: Answer
) -> None:
    payment_id = await impossible_success(payments, provider, Succeeded(400))
    await payments.cancel(payment_id)
    provider.reversals.append(lost)
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).status == "processing"
    assert await seconds_until(admin, payment_id, "due_at") <= 2.4
    await process_when_due(payments, admin, payment_id)
    assert provider.calls[-1] == ("withdraw", f"{payment_id}:1")  # an inquiry: it reverses no money that has moved
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).status == "cancelled"
    assert [kind for kind, _ in provider.calls] == ["charge", "reverse", "withdraw", "reverse"]


async def test_a_worker_that_dies_during_the_reversal_leaves_it_to_the_next(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await impossible_success(payments, provider, Succeeded(400))
    await payments.cancel(payment_id)
    assert len(await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)) == 1
    await time_passes(admin, payment_id, seconds=31)
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).status == "cancelled"


async def test_a_reversal_is_repeated_while_the_provider_is_unavailable(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await impossible_success(payments, provider, Succeeded(400))
    await payments.cancel(payment_id)
    provider.reversals.extend([Unavailable("503")] * 2)
    await payments.process(payment_id)
    for _ in range(2):
        await process_when_due(payments, admin, payment_id)
    assert (await evidence(admin, payment_id)).status == "cancelled"
    assert [kind for kind, _ in provider.calls] == ["charge", "reverse", "reverse", "reverse"]


async def test_refused_reversal_waits_for_a_review_and_another_cancel_retries_it(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await impossible_success(payments, provider, Succeeded(400))
    await payments.cancel(payment_id)
    provider.reversals.append(Succeeded(400))
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["needs_review"], found.row["due_at"]) == ("processing", True, None)
    await payments.cancel(payment_id)
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).status == "cancelled"


@pytest.mark.parametrize("refusal", [Unknown("the provider answered 409 refunded"), Unavailable("503")])
async def test_reversal_that_is_never_granted_is_retried_less_often_and_reviewed_once(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, refusal: Unknown | Unavailable
) -> None:
    payment_id = await impossible_success(payments, provider, Succeeded(400))
    await payments.cancel(payment_id)
    reviewed_version = (await evidence(admin, payment_id)).row["version"]
    provider.reversals.extend([refusal] * 99)
    waits = []
    for _ in range(9):
        reversals = provider.calls.count(("reverse", f"{payment_id}:1"))
        while provider.calls.count(("reverse", f"{payment_id}:1")) == reversals:
            await process_when_due(payments, admin, payment_id)
        waits.append(await seconds_until(admin, payment_id, "due_at"))
    assert (waits[4] > 20, waits[-1] > 2_000) == (True, True)  # a minute and an hour, with a jitter of a fifth
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["needs_review"], found.row["version"]) == ("processing", True, reviewed_version)
    assert found.row["failure_message"] == refusal.reason


async def test_a_cancel_of_a_quarantined_payment_is_acted_on(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending()
    for _ in range(4):
        await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)
        await time_passes(admin, payment_id, seconds=31)
    assert (await evidence(admin, payment_id)).row["due_at"] is None
    await payments.cancel(payment_id)
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).status == "cancelled"
    assert provider.calls == [("withdraw", f"{payment_id}:1")]


async def test_two_concurrent_cancels_reverse_once(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await impossible_success(payments, provider, Succeeded(400))
    await asyncio.gather(*(payments.cancel(payment_id) for _ in range(5)))
    await asyncio.gather(*(payments.process(payment_id) for _ in range(5)))
    assert [kind for kind, _ in provider.calls] == ["charge", "reverse"]
    assert (await evidence(admin, payment_id)).events.count("request_cancel") == 1


async def test_reversal_releases_the_reservation_on_the_bill(
    api: Api, payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    order = await open_order(api, payments.tenant, items=[{**RAMEN, "quantity": 1, "unit_price": 1_000}])
    bill = await bill_of(api, payments.tenant, order["id"])
    provider.charges.append(Succeeded(400))
    payment_id = await payments.pending(amount=bill["total_amount"], bill_id=bill["id"])
    await payments.process(payment_id)
    assert (await bill_row(admin, bill["id"]))["reserved_amount"] == bill["total_amount"]
    await payments.cancel(payment_id)
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).status == "cancelled"
    row = await bill_row(admin, bill["id"])
    assert (row["status"], row["reserved_amount"], row["paid_amount"]) == ("unpaid", 0, 0)


@pytest.mark.parametrize("fate", ["partial:400", "partial:400+timeout_after_charge", "partial:1"])
async def test_the_sandbox_takes_a_partial_charge_back_with_its_fee(
    settings: Settings, engines: None, tenant: Tenant, sandbox: Sandbox, admin: Admin, fate: str
) -> None:
    changes = {"sandbox_url": sandbox.url, "sandbox_api_key": SecretStr(KEY), "sandbox_timeout_seconds": 0.3}
    known = settings.model_copy(update=changes)
    providers = open_providers(known)
    payments = PaymentMaker(known, providers, tenant)
    try:
        payment_id = await payments.pending(metadata={"sandbox": fate})
        await payments.process(payment_id)
        await payments.cancel(payment_id)
        while (await evidence(admin, payment_id)).row["due_at"] is not None:  # on a busy machine more answers are lost
            await process_when_due(payments, admin, payment_id)
        assert (await evidence(admin, payment_id)).status == "cancelled"
        part = int(fate.partition(":")[2].partition("+")[0])
        assert await sandbox.moved(payment_id) == [("charge", part), ("reversal", part)]
    finally:
        await payments.processor.drain(5)
        await providers.close()


@pytest.mark.parametrize("fee", [-1, 1_001, 2**63 - 1])
async def test_database_refuses_a_payment_fee_outside_its_amount(
    payments: PaymentMaker, admin: Admin, fee: int
) -> None:
    payment_id = await payments.pending()
    await payments.process(payment_id)
    with pytest.raises(psycopg.errors.CheckViolation, match="outside the amount"):
        await admin.execute("UPDATE payments SET fee = %s WHERE id = %s", [fee, payment_id])
    await admin.execute("UPDATE payments SET fee = 1000 WHERE id = %s", [payment_id])


async def test_database_refuses_a_refund_fee_outside_its_amount(refunds: RefundMaker, admin: Admin) -> None:
    refund_id = await refunds.refunded(await refunds.paid(), 300)
    with pytest.raises(psycopg.errors.CheckViolation, match="outside the amount"):
        await admin.execute("UPDATE refunds SET fee = 301 WHERE id = %s", [refund_id])

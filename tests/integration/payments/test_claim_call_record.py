"""A payment is claimed with its attempt, sent without a connection, and recorded when answered, independently of others."""

import asyncio
from dataclasses import replace

import pytest

from tests.factories import CASH, QR, TERMINAL, PaymentMaker
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of, evidence, seconds_until
from tests.integration.payments.payment_helpers import charge_in_progress
from workflows.providers.base import NEVER, Declined, Succeeded
from workflows.settings import Settings


@pytest.mark.parametrize(
    ("request_", "status", "provider_reference"),
    [(CASH, "completed", False), (TERMINAL, "completed", False), (QR, "completed", True)],
    ids=["cash", "terminal", "provider"],
)
async def test_every_processing_mode_is_claimed_called_and_recorded(
    payments: PaymentMaker, admin: Admin, request_: object, status: str, provider_reference: bool
) -> None:
    payment_id = await payments.pending(request_)  # type: ignore[arg-type]
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert found.status == status
    assert found.events == ["create", "claim", "complete"]
    assert found.outcomes == ["succeeded"]
    assert found.row["captured_amount"] == 1_000
    assert bool(found.row["provider_reference"]) == provider_reference
    assert found.row["due_at"] is found.row["lease_until"] is None


async def test_a_tip_is_charged_and_captured_on_top(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending(QR, tip_amount=150)
    await payments.process(payment_id)
    assert provider.moved == {f"{payment_id}:1": 1_150}
    assert (await evidence(admin, payment_id)).row["captured_amount"] == 1_150


@pytest.mark.parametrize(
    ("request_", "code"),
    [(replace(TERMINAL, facts={"external_result": "declined"}), "declined"), (QR, "insufficient_funds")],
    ids=["terminal", "provider"],
)
async def test_a_decline_fails_the_payment_with_its_reason(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, request_: object, code: str
) -> None:
    provider.charges.append(Declined("insufficient_funds", "Not enough money"))
    payment_id = await payments.pending(request_)  # type: ignore[arg-type]
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["failure_code"]) == ("failed", code)
    assert found.row["failure_message"]
    assert found.row["captured_amount"] == 0


async def test_attempt_is_written_before_the_provider_is_called(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, settings: Settings
) -> None:
    payment_id, working = await charge_in_progress(payments, provider)
    found = await evidence(admin, payment_id)
    assert (found.status, found.outcomes) == ("processing", [None])
    assert found.attempts[0]["reference"] == provider.calls[0][1] == f"{payment_id}:1"
    assert 0 < await seconds_until(admin, payment_id, "lease_until") <= settings.lease_seconds
    assert 0 < await seconds_until(admin, payment_id, "due_at") <= settings.lease_seconds
    provider.release()
    await working


async def test_no_connection_is_held_during_a_provider_call(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    _, working = await charge_in_progress(payments, provider)
    workers = b"SELECT query FROM pg_stat_activity WHERE application_name = 'mpac_worker'"  # without those of the API
    assert await all_of(admin, workers) != []
    assert await all_of(admin, workers + b" AND state LIKE 'idle in transaction%%'") == []
    provider.release()
    await working


async def test_slow_payment_does_not_delay_the_others_of_its_batch(
    worker_batch_timeout: None, payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    slow = await payments.pending()
    fast = [await payments.pending(CASH) for _ in range(5)]
    provider.hold()
    await payments.process(slow, *fast)
    assert {(await evidence(admin, payment_id)).status for payment_id in fast} == {"completed"}
    assert (await evidence(admin, slow)).status == "processing"
    provider.release()
    await payments.processor.drain(5)
    assert (await evidence(admin, slow)).status == "completed"


async def test_failing_payment_does_not_fail_its_batch(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    class Explodes(FakeProvider):
        async def charge(self, charge: object, *, not_after: float = NEVER) -> Succeeded:
            raise RuntimeError("a bug in an adapter")

    payments.processor._providers.remote["sandbox"] = Explodes()
    bad = await payments.pending()
    good = await payments.pending(CASH)
    await payments.process(bad, good)
    assert (await evidence(admin, good)).status == "completed"
    found = await evidence(admin, bad)
    assert (found.status, found.outcomes) == ("processing", [None])
    assert "left to the sweep" in caplog.text


async def test_success_with_a_larger_amount_is_never_recorded_as_completed(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Succeeded(400, "r1"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["needs_review"], found.row["outcome_known"]) == ("processing", True, False)
    assert found.row["failure_code"] == "amount_mismatch"
    assert found.row["due_at"] is None


async def test_a_batch_of_two_hundred_is_processed_whole(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    ids = await asyncio.gather(*(payments.pending() for _ in range(200)))
    await payments.process(*ids)
    await payments.processor.drain(5)
    rows = await all_of(
        admin,
        b"SELECT status, count(*) AS n FROM payments WHERE merchant_id = %s GROUP BY 1",
        payments.tenant.merchant_id,
    )
    assert rows == [{"status": "completed", "n": 200}]
    assert len(set(provider.calls)) == len(provider.calls) == 200

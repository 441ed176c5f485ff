"""Claim, call, record: fenced, leased, written ahead; what is lost, late or doubled changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.factories import CASH, QR, TERMINAL, PaymentMaker, Tenant, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of, evidence, seconds_until
from workflows.payments.claim import claim_payments
from workflows.payments.process import Processor
from workflows.providers.base import Declined, Succeeded, Unavailable
from workflows.providers.registry import Providers
from workflows.settings import Settings

LEASE_SECONDS = 30


@pytest.fixture
async def other_worker(settings: Settings, provider: FakeProvider, engines: None) -> AsyncIterator[Processor]:
    """A second worker process at the same provider."""
    worker = Processor(settings, Providers({provider.name: provider}), worker="the-other-worker")
    yield worker
    provider.release()
    await worker.drain(5)


async def in_hand(payments: PaymentMaker, provider: FakeProvider, **changes: object) -> tuple[str, asyncio.Task[None]]:
    """A payment whose charge has moved money and is not answered yet, and the worker's task."""
    payment_id = await payments.pending(QR, **changes)
    provider.hold()
    provider.heard.clear()
    working = asyncio.ensure_future(payments.process(payment_id))
    await provider.heard.wait()
    return payment_id, working


@pytest.mark.parametrize(
    ("request_", "status", "provider_reference"),
    [(CASH, "completed", False), (TERMINAL, "completed", False), (QR, "completed", True)],
    ids=["cash", "terminal", "provider"],
)
async def test_all_modes_take_the_same_path(
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
async def test_a_decline_fails_the_payment_and_says_why(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, request_: object, code: str
) -> None:
    provider.charges.append(Declined("insufficient_funds", "Not enough money"))
    payment_id = await payments.pending(request_)  # type: ignore[arg-type]
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["failure_code"]) == ("failed", code)
    assert found.row["failure_message"]
    assert found.row["captured_amount"] == 0


async def test_the_attempt_is_written_before_the_provider_hears_of_it(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id, working = await in_hand(payments, provider)
    found = await evidence(admin, payment_id)
    assert (found.status, found.outcomes) == ("processing", [None])
    assert found.attempts[0]["reference"] == provider.calls[0][1] == f"{payment_id}:1"
    assert 0 < await seconds_until(admin, payment_id, "lease_until") <= LEASE_SECONDS
    assert 0 < await seconds_until(admin, payment_id, "due_at") <= LEASE_SECONDS
    provider.release()
    await working


async def test_no_connection_is_held_while_a_provider_is_asked(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    _, working = await in_hand(payments, provider)
    open_ = await all_of(admin, b"SELECT query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'")
    assert open_ == []
    provider.release()
    await working


async def test_a_message_delivered_twice_at_once_charges_once(
    payments: PaymentMaker, other_worker: Processor, provider: FakeProvider, admin: Admin
) -> None:
    ids = [await payments.pending() for _ in range(20)]
    await asyncio.gather(*(worker.process(ids) for worker in (payments.processor, other_worker) * 3))
    assert sorted(provider.calls) == sorted(("charge", f"{payment_id}:1") for payment_id in ids)
    for payment_id in ids:
        assert (await evidence(admin, payment_id)).events == ["create", "claim", "complete"]


async def test_a_message_that_comes_late_changes_nothing(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending()
    await payments.process(payment_id)
    before = await evidence(admin, payment_id)
    await payments.process(payment_id, payment_id, "pay_unknown")
    assert await evidence(admin, payment_id) == before
    assert len(provider.calls) == 1


async def test_a_lease_keeps_others_away_until_it_ends(
    payments: PaymentMaker, other_worker: Processor, provider: FakeProvider, admin: Admin
) -> None:
    payment_id, working = await in_hand(payments, provider)
    await admin.execute("UPDATE payments SET due_at = now() WHERE id = %s", [payment_id])  # the lease alone is to hold
    await other_worker.process([payment_id])
    assert provider.calls == [("charge", f"{payment_id}:1")]
    provider.release()
    await working


async def test_after_the_lease_another_worker_asks_and_never_charges(
    payments: PaymentMaker, other_worker: Processor, provider: FakeProvider, admin: Admin
) -> None:
    payment_id, working = await in_hand(payments, provider)
    await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    await other_worker.process([payment_id])
    found = await evidence(admin, payment_id)
    assert found.status == "completed"
    assert provider.calls == [("charge", f"{payment_id}:1"), ("inquire", f"{payment_id}:1")]
    provider.release()
    await working


async def test_the_late_answer_of_a_worker_that_lost_its_lease_is_kept_and_moves_nothing(
    payments: PaymentMaker, other_worker: Processor, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Declined("lost_card"))
    payment_id, working = await in_hand(payments, provider)
    await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    provider.inquiries.append(Succeeded(1_000, "r1"))
    await other_worker.process([payment_id])
    before = await evidence(admin, payment_id)
    provider.release()
    await working
    await payments.processor.drain(5)
    found = await evidence(admin, payment_id)
    assert (found.row, found.history) == (before.row, before.history)
    assert found.status == "completed"
    assert found.messages[-1]["kind"] == "late_answer"
    assert (found.messages[-1]["answer"], found.messages[-1]["detail"]["code"]) == ("declined", "lost_card")


async def test_a_late_answer_is_fenced_off_also_while_the_next_worker_is_still_asking(
    payments: PaymentMaker, other_worker: Processor, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Declined("lost_card"))
    payment_id, working = await in_hand(payments, provider)
    await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    provider.hold_inquiries()
    provider.inquiries.append(Succeeded(1_000, "r1"))
    asking = asyncio.ensure_future(other_worker.process([payment_id]))
    await provider.asked.wait()
    before = await evidence(admin, payment_id)
    provider.release_charges()
    await working
    await payments.processor.drain(5)
    found = await evidence(admin, payment_id)
    assert (found.row, found.history) == (before.row, before.history)
    assert found.kinds == ["late_answer"]
    provider.release()
    await asking
    assert (await evidence(admin, payment_id)).status == "completed"


async def test_late_proof_of_success_never_flips_a_failed_payment_but_is_an_exception_on_record(
    payments: PaymentMaker, other_worker: Processor, provider: FakeProvider, admin: Admin
) -> None:
    payment_id, working = await in_hand(payments, provider)
    await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    provider.inquiries.append(Declined("lost_card"))
    await other_worker.process([payment_id])
    provider.release()
    await working
    await payments.processor.drain(5)
    found = await evidence(admin, payment_id)
    assert found.status == "failed"
    assert found.kinds[-1] == "late_success"


async def test_an_unavailable_provider_is_tried_again_under_a_new_reference_with_growing_pauses(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.extend([Unavailable("no connection")] * 5)
    payment_id = await payments.pending()
    await payments.process(payment_id)
    for pause in (0.5, 1, 2, 4, 8):
        left = await seconds_until(admin, payment_id, "due_at")
        assert pause * 0.8 - 0.3 <= left <= pause * 1.2
        assert (await evidence(admin, payment_id)).status == "processing"
        await time_passes(admin, payment_id, seconds=10)
        await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert found.status == "completed"
    assert found.outcomes == ["unavailable"] * 5 + ["succeeded"]
    assert [reference for _, reference in provider.calls] == [f"{payment_id}:{number}" for number in range(1, 7)]
    assert found.events == ["create", "claim", "complete"]


async def test_after_five_retries_the_payment_failed_and_nothing_moved(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.extend([Unavailable("no connection")] * 9)
    payment_id = await payments.pending()
    for _ in range(8):
        await payments.process(payment_id)
        await time_passes(admin, payment_id, seconds=10)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["failure_code"]) == ("failed", "provider_unavailable")
    assert len(provider.calls) == 6
    assert provider.moved == {}


async def test_the_providers_wish_to_wait_is_honoured(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unavailable("429", retry_after_seconds=90))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    assert 85 < await seconds_until(admin, payment_id, "due_at") <= 90
    await payments.process(payment_id)
    assert len(provider.calls) == 1


async def test_a_payment_that_expired_before_anybody_looked_is_cancelled_and_no_provider_hears_of_it(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending()
    await time_passes(admin, payment_id, seconds=301)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_reason"]) == ("cancelled", "expired")
    assert found.events == ["create", "claim", "cancel"]
    assert found.attempts == []
    assert provider.calls == []


async def test_a_payment_whose_retries_outlast_it_is_cancelled_as_expired(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unavailable("no connection"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    await time_passes(admin, payment_id, seconds=301)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["cancel_reason"]) == ("cancelled", "expired")
    assert len(provider.calls) == 1


async def test_a_payment_that_kills_its_worker_each_time_is_quarantined_after_three_claims(
    payments: PaymentMaker, admin: Admin, provider: FakeProvider, tenant: Tenant
) -> None:
    payment_id = await payments.pending()
    for death in range(4):
        claimed = await claim_payments([payment_id], worker="dies", lease_seconds=LEASE_SECONDS)
        assert len(claimed) == (1 if death < 3 else 0)
        await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["needs_review"], found.row["outcome_known"]) == ("processing", True, False)
    assert found.row["due_at"] is found.row["lease_until"] is None
    assert found.history[-1]["reason"] == "quarantined"
    (letter,) = await all_of(admin, b"SELECT * FROM dead_letters WHERE entity_id = %s", payment_id)
    assert (letter["task"], letter["arguments"], letter["deliveries"]) == ("payments.process", [[payment_id]], 3)
    await payments.process(payment_id)
    assert provider.calls == []


async def test_an_answer_forgets_the_deaths_before_it(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending()
    for _ in range(3):
        await claim_payments([payment_id], worker="dies", lease_seconds=LEASE_SECONDS)
        await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    assert (await evidence(admin, payment_id)).row["unanswered_claims"] == 3
    await admin.execute("UPDATE payments SET unanswered_claims = 2 WHERE id = %s", [payment_id])
    provider.inquiries.append(Unavailable("503"))
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).row["unanswered_claims"] == 0


async def test_a_slow_payment_never_holds_back_the_others_of_its_batch(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
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


async def test_one_bad_payment_never_fails_its_batch(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    class Explodes(FakeProvider):
        async def charge(self, charge: object) -> Succeeded:
            raise RuntimeError("a bug in an adapter")

    payments.processor._providers.remote["sandbox"] = Explodes()
    bad = await payments.pending()
    good = await payments.pending(CASH)
    await payments.process(bad, good)
    assert (await evidence(admin, good)).status == "completed"
    found = await evidence(admin, bad)
    assert (found.status, found.outcomes) == ("processing", [None])
    assert "left to the sweep" in caplog.text


async def test_more_than_was_asked_for_is_never_recorded_as_completed(
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

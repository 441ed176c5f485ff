"""A lease excludes other workers until it ends, a fence rejects late answers, and unanswered claims are counted."""

import asyncio

from tests.factories import PaymentMaker, Tenant, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of, evidence
from tests.integration.payments.payment_helpers import charge_in_progress
from workflows.processing.executor import LeaseExecutor
from workflows.providers.base import Charge, Declined, Succeeded, Unavailable
from workflows.refunds.workload import PAYMENTS

LEASE_SECONDS = 30


async def test_a_message_delivered_twice_concurrently_charges_once(
    payments: PaymentMaker, other_worker: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    ids = [await payments.pending() for _ in range(20)]
    await asyncio.gather(*(worker.process(ids) for worker in (payments.processor, other_worker) * 3))
    assert sorted(provider.calls) == sorted(("charge", f"{payment_id}:1") for payment_id in ids)
    for payment_id in ids:
        assert (await evidence(admin, payment_id)).events == ["create", "claim", "complete"]


async def test_late_message_changes_nothing(payments: PaymentMaker, provider: FakeProvider, admin: Admin) -> None:
    payment_id = await payments.pending()
    await payments.process(payment_id)
    before = await evidence(admin, payment_id)
    await payments.process(payment_id, payment_id, "pay_unknown")
    assert await evidence(admin, payment_id) == before
    assert len(provider.calls) == 1


async def test_a_leased_payment_is_not_claimed_again_until_the_lease_ends(
    payments: PaymentMaker, other_worker: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    payment_id, working = await charge_in_progress(payments, provider)
    await admin.execute("UPDATE payments SET due_at = now() WHERE id = %s", [payment_id])  # only the lease protects it
    await other_worker.process([payment_id])
    assert provider.calls == [("charge", f"{payment_id}:1")]
    provider.release()
    await working


async def test_after_the_lease_another_worker_inquires_and_never_charges(
    payments: PaymentMaker, other_worker: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    payment_id, working = await charge_in_progress(payments, provider)
    await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    await other_worker.process([payment_id])
    found = await evidence(admin, payment_id)
    assert found.status == "completed"
    assert provider.calls == [("charge", f"{payment_id}:1"), ("inquire", f"{payment_id}:1")]
    provider.release()
    await working


async def test_late_answer_of_a_worker_without_its_lease_is_stored_as_evidence_only(
    payments: PaymentMaker, other_worker: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Declined("lost_card"))
    payment_id, working = await charge_in_progress(payments, provider)
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


async def test_late_answer_is_fenced_off_while_the_next_worker_inquires(
    payments: PaymentMaker, other_worker: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Declined("lost_card"))
    payment_id, working = await charge_in_progress(payments, provider)
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


async def test_late_success_of_a_failed_payment_is_stored_as_an_exception(
    payments: PaymentMaker, other_worker: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    payment_id, working = await charge_in_progress(payments, provider)
    await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    provider.inquiries.append(Declined("lost_card"))
    await other_worker.process([payment_id])
    provider.release()
    await working
    await payments.processor.drain(5)
    found = await evidence(admin, payment_id)
    assert found.status == "failed"
    assert found.kinds[-1] == "late_success"


async def test_payment_that_crashes_every_worker_is_quarantined_after_three_claims(
    payments: PaymentMaker, admin: Admin, provider: FakeProvider, tenant: Tenant
) -> None:
    payment_id = await payments.pending()
    for death in range(4):
        claimed = await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=LEASE_SECONDS)
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


async def test_answer_resets_the_count_of_unanswered_claims(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending()
    for _ in range(3):
        await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=LEASE_SECONDS)
        await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    assert (await evidence(admin, payment_id)).row["unanswered_claims"] == 3
    await admin.execute("UPDATE payments SET unanswered_claims = 2 WHERE id = %s", [payment_id])
    provider.inquiries.append(Unavailable("503"))
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).row["unanswered_claims"] == 0

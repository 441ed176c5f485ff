"""A batch may exceed the capacity, contain malformed ids or poison rows, or reach a worker that is then stopped."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.factories import CASH, PaymentMaker, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of, evidence
from tests.polling import eventually
from workflows.payments.workload import PaymentWorkload
from workflows.processing.executor import LeaseExecutor
from workflows.processing.leases import Claim
from workflows.providers.base import Charge, Declined, Succeeded
from workflows.providers.registry import Providers
from workflows.refunds.late_cancels import refund_late_cancels
from workflows.refunds.workload import PAYMENTS
from workflows.settings import Settings

LEASE_SECONDS = 30
Worker = Callable[..., LeaseExecutor[Charge]]


@pytest.fixture
async def worker(settings: Settings, provider: FakeProvider, engines: None) -> AsyncIterator[Worker]:
    """Yield a function that creates executors of other worker processes, with changed settings."""
    made: list[LeaseExecutor[Charge]] = []

    def make(**changes: Any) -> LeaseExecutor[Charge]:
        changed = settings.model_copy(update=changes)
        made.append(
            LeaseExecutor(
                PAYMENTS, settings=changed, providers=Providers({provider.name: provider}), worker="another-worker"
            )
        )
        return made[-1]

    yield make
    provider.release()
    await asyncio.gather(*(processor.drain(5) for processor in made))


async def statuses(admin: Admin, ids: list[str]) -> set[str]:
    rows = await all_of(admin, b"SELECT DISTINCT status FROM payments WHERE id = ANY(%s)", ids)
    return {row["status"] for row in rows}


@pytest.mark.parametrize("rubbish", [1, None, "", "pay_\x00", "a b", {"id": 1}, ["pay_1"], "x" * 81])
async def test_malformed_id_is_reported_after_the_rest_of_its_batch_was_processed(
    payments: PaymentMaker, admin: Admin, rubbish: object
) -> None:
    good = [await payments.pending(CASH) for _ in range(2)]
    with pytest.raises(ValueError, match="1 of these 3 are not valid ids"):
        await payments.processor.process([good[0], rubbish, good[1]])
    assert await statuses(admin, good) == {"completed"}


@pytest.mark.parametrize("message", ["pay_1", None, 5, {"pay_1": 1}])
async def test_message_that_is_not_a_list_raises_a_type_error(payments: PaymentMaker, message: Any) -> None:
    with pytest.raises(TypeError, match="list of their ids"):
        await payments.processor.process(message)


async def test_batch_larger_than_the_capacity_is_processed_in_pages(
    payments: PaymentMaker, worker: Worker, admin: Admin
) -> None:
    ids = [await payments.pending(CASH) for _ in range(7)]
    async with asyncio.timeout(20):
        await worker(payments_in_hand=3).process([*ids, *(f"pay_unknown{number}" for number in range(200))])
    assert await statuses(admin, ids) == {"completed"}


async def test_batches_that_each_need_the_whole_capacity_do_not_deadlock(
    payments: PaymentMaker, worker: Worker, admin: Admin
) -> None:
    processor = worker(payments_in_hand=4)
    batches = [[await payments.pending() for _ in range(4)] for _ in range(6)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(processor.process(batch) for batch in batches))
    ids = [payment_id for batch in batches for payment_id in batch]
    await eventually(lambda: statuses(admin, ids), until=lambda seen: seen == {"completed"})


async def test_a_batch_cancelled_while_waiting_releases_its_slots(
    payments: PaymentMaker, worker: Worker, admin: Admin
) -> None:
    processor = worker(payments_in_hand=3)
    ids = [await payments.pending(CASH) for _ in range(3)]
    full = await processor._capacity.acquire(2)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(processor.process(ids), 0.1)
    processor._capacity.release_unused(2, full, [])
    async with asyncio.timeout(20):
        await processor.process(ids)
    assert await statuses(admin, ids) == {"completed"}


async def test_payment_that_crashes_its_worker_is_quarantined_without_its_batch(
    payments: PaymentMaker, worker: Worker, provider: FakeProvider, admin: Admin
) -> None:
    innocent = [await payments.pending() for _ in range(3)]
    poison = await payments.pending()
    batch = [innocent[0], poison, *innocent[1:]]
    for _ in range(2):  # twice they are claimed together, and their worker dies
        assert len(await PAYMENTS.claim(batch, worker="dies", lease_seconds=LEASE_SECONDS)) == 4
        for payment_id in batch:
            await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    assert await PAYMENTS.claim(batch, worker="dies", lease_seconds=LEASE_SECONDS) == []
    assert len(await PAYMENTS.claim([poison], worker="dies", lease_seconds=LEASE_SECONDS)) == 1
    await time_passes(admin, poison, seconds=LEASE_SECONDS + 1)
    provider.inquiries.extend([Succeeded(1_000)] * 3)
    await worker().process(batch)
    assert await statuses(admin, innocent) == {"completed"}
    found = await evidence(admin, poison)
    assert (found.status, found.row["needs_review"]) == ("processing", True)
    assert found.history[-1]["reason"] == "quarantined"


async def test_poison_candidates_are_processed_one_after_the_other(
    payments: PaymentMaker, worker: Worker, provider: FakeProvider, admin: Admin
) -> None:
    batch = [await payments.pending() for _ in range(2)]
    for _ in range(2):
        await PAYMENTS.claim(batch, worker="dies", lease_seconds=LEASE_SECONDS)
        for payment_id in batch:
            await time_passes(admin, payment_id, seconds=LEASE_SECONDS + 1)
    provider.hold_inquiries()
    working = [asyncio.ensure_future(one.process(batch)) for one in [worker()] for _ in range(2)]
    await provider.asked.wait()
    rows = await all_of(admin, b"SELECT id FROM payments WHERE id = ANY(%s) AND lease_until > now()", batch)
    assert len(rows) == 1
    provider.release()
    await asyncio.gather(*working)
    await working[0]
    assert len({reference for _, reference in provider.calls}) == 2


class StopsAfterClaim(PaymentWorkload):
    """A workload whose process stops for a while after it has claimed payments."""

    async def claim(self, ids: list[str], **rest: Any) -> list[Claim[Charge]]:
        claimed = await super().claim(ids, **rest)
        time.sleep(0.3)  # noqa: ASYNC251 - the process as a whole is stopped
        return claimed


async def test_a_worker_that_was_stopped_between_claim_and_call_sends_nothing_when_it_wakes_up(
    payments: PaymentMaker, worker: Worker, provider: FakeProvider, admin: Admin
) -> None:
    processor = worker(lease_seconds=0.4)
    processor._workload = StopsAfterClaim(refund_late_cancels)
    payment_id = await payments.pending()
    await processor.process([payment_id])
    assert provider.calls == []
    found = await evidence(admin, payment_id)
    assert (found.status, found.outcomes) == ("processing", ["unavailable"])


async def test_answer_that_cannot_be_stored_does_not_prevent_recording_its_group(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    ids = [await payments.pending() for _ in range(6)]
    provider.charges.extend([Succeeded(1_000)] * 5)
    provider.charges.append(Declined("stolen_card", "no text of ours holds \x00"))
    provider.hold()
    working = asyncio.create_task(payments.process(*ids))
    await provider.heard.wait()
    provider.release()  # all six are answered at the same time, and recorded together
    await working
    rows = await all_of(admin, b"SELECT status, count(*) AS n FROM payments WHERE id = ANY(%s) GROUP BY 1", ids)
    assert {row["status"]: row["n"] for row in rows} == {"completed": 5, "processing": 1}

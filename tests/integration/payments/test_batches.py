"""What a message may bring: more ids than there is room for, no ids at all, rows that kill, and a worker that was stopped."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.factories import CASH, PaymentMaker, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of, evidence
from tests.polling import eventually
from workflows.payments.process import PaymentWorkload
from workflows.processing.executor import LeaseExecutor
from workflows.processing.leases import Claim
from workflows.providers.base import Charge, Declined, Succeeded
from workflows.providers.registry import Providers
from workflows.refunds.process import PAYMENTS
from workflows.refunds.refund_late_cancel import refund_late_cancels
from workflows.settings import Settings

LEASE_SECONDS = 30
Worker = Callable[..., LeaseExecutor[Charge]]


@pytest.fixture
async def worker(settings: Settings, provider: FakeProvider, engines: None) -> AsyncIterator[Worker]:
    """Worker processes with settings of their own."""
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
async def test_what_is_no_id_is_told_and_the_rest_of_the_batch_is_seen_to(
    payments: PaymentMaker, admin: Admin, rubbish: object
) -> None:
    good = [await payments.pending(CASH) for _ in range(2)]
    with pytest.raises(ValueError, match="1 of these 3 are no ids"):
        await payments.processor.process([good[0], rubbish, good[1]])
    assert await statuses(admin, good) == {"completed"}


@pytest.mark.parametrize("message", ["pay_1", None, 5, {"pay_1": 1}])
async def test_a_message_that_is_no_list_is_told(payments: PaymentMaker, message: Any) -> None:
    with pytest.raises(TypeError, match="list of their ids"):
        await payments.processor.process(message)


async def test_a_batch_larger_than_all_room_is_seen_to_piece_by_piece(
    payments: PaymentMaker, worker: Worker, admin: Admin
) -> None:
    ids = [await payments.pending(CASH) for _ in range(7)]
    async with asyncio.timeout(20):
        await worker(payments_in_hand=3).process([*ids, *(f"pay_unknown{number}" for number in range(200))])
    assert await statuses(admin, ids) == {"completed"}


async def test_two_batches_that_each_need_all_room_do_not_wait_for_each_other_for_ever(
    payments: PaymentMaker, worker: Worker, admin: Admin
) -> None:
    processor = worker(payments_in_hand=4)
    batches = [[await payments.pending() for _ in range(4)] for _ in range(6)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(processor.process(batch) for batch in batches))
    ids = [payment_id for batch in batches for payment_id in batch]
    await eventually(lambda: statuses(admin, ids), until=lambda seen: seen == {"completed"})


async def test_a_batch_that_waited_too_long_gives_back_the_room_it_had(
    payments: PaymentMaker, worker: Worker, admin: Admin
) -> None:
    processor = worker(payments_in_hand=3)
    ids = [await payments.pending(CASH) for _ in range(3)]
    full = await processor._capacity.take(2)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(processor.process(ids), 0.1)
    processor._capacity.return_unused(2, full, [])
    async with asyncio.timeout(20):
        await processor.process(ids)
    assert await statuses(admin, ids) == {"completed"}


async def test_a_payment_that_kills_its_worker_takes_nobody_of_its_batch_into_quarantine(
    payments: PaymentMaker, worker: Worker, provider: FakeProvider, admin: Admin
) -> None:
    innocent = [await payments.pending() for _ in range(3)]
    poison = await payments.pending()
    batch = [innocent[0], poison, *innocent[1:]]
    for _ in range(2):  # twice they are in hand together while their worker dies
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


async def test_suspects_are_in_hand_one_after_the_other(
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


class ClaimsAndIsStopped(PaymentWorkload):
    """Payments whose worker gets no processor time for a while, once it has claimed some."""

    async def claim(self, ids: list[str], **rest: Any) -> list[Claim[Charge]]:
        claimed = await super().claim(ids, **rest)
        time.sleep(0.3)  # noqa: ASYNC251 - the process as a whole is stopped
        return claimed


async def test_a_worker_that_was_stopped_between_claim_and_call_sends_nothing_when_it_wakes_up(
    payments: PaymentMaker, worker: Worker, provider: FakeProvider, admin: Admin
) -> None:
    processor = worker(lease_seconds=0.4)
    processor._workload = ClaimsAndIsStopped(refund_late_cancels)
    payment_id = await payments.pending()
    await processor.process([payment_id])
    assert provider.calls == []
    found = await evidence(admin, payment_id)
    assert (found.status, found.outcomes) == ("processing", ["unavailable"])


async def test_an_answer_that_cannot_be_stored_holds_back_none_of_its_group(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    ids = [await payments.pending() for _ in range(6)]
    provider.charges.extend([Succeeded(1_000)] * 5)
    provider.charges.append(Declined("stolen_card", "no text of ours holds \x00"))
    provider.hold()
    working = asyncio.create_task(payments.process(*ids))
    await provider.heard.wait()
    provider.release()  # all six are answered at once, and recorded together
    await working
    rows = await all_of(admin, b"SELECT status, count(*) AS n FROM payments WHERE id = ANY(%s) GROUP BY 1", ids)
    assert {row["status"]: row["n"] for row in rows} == {"completed": 5, "processing": 1}

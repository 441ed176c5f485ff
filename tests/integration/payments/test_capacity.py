"""A provider that hangs occupies only its own slots: other providers, and rows without a call, have separate ones."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.conftest import MakeTenant
from tests.factories import CASH, TERMINAL, PaymentMaker, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of, evidence
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.integration.refunds.refund_helpers import evidence as refund_evidence
from tests.polling import eventually, until
from workflows.processing import capacity, executor
from workflows.processing.executor import LeaseExecutor
from workflows.providers.base import Charge, Unavailable
from workflows.providers.registry import Providers
from workflows.refunds.workload import PAYMENTS, REFUNDS
from workflows.settings import Settings

PLACES = 8
HANGS_SECONDS = 20
Worker = Callable[..., LeaseExecutor[Charge]]


@pytest.fixture
def other() -> FakeProvider:
    """Return a second provider."""
    return FakeProvider(name="other")


@pytest.fixture
async def processor(
    settings: Settings, provider: FakeProvider, other: FakeProvider, engines: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LeaseExecutor[Charge]]:
    """Yield an executor with few slots.

    The executor's callers wait without a timeout; their number is limited as in a worker.
    """
    monkeypatch.setattr(executor, "BATCH_TIMEOUT_SECONDS", 3_600.0)
    monkeypatch.setattr(executor, "WAITING_BATCHES", 4)
    changed = settings.model_copy(update={"calls_in_flight": PLACES, "payments_in_hand": 50})
    processor = LeaseExecutor(
        PAYMENTS,
        settings=changed,
        providers=Providers({one.name: one for one in (provider, other)}),
        worker="few-places",
    )
    yield processor
    provider.release()
    other.release()
    await processor.drain(5)


async def statuses(admin: Admin, ids: list[str]) -> dict[str, int]:
    rows = await all_of(admin, b"SELECT status, count(*) AS n FROM payments WHERE id = ANY(%s) GROUP BY 1", ids)
    return {row["status"]: row["n"] for row in rows}


async def hanging(
    payments: PaymentMaker, processor: LeaseExecutor[Charge], provider: FakeProvider, count: int
) -> list[str]:
    """Create ``count`` payments: those that get a slot hang at ``provider``, and the others wait for one."""
    provider.hold()
    ids = [await payments.pending() for _ in range(count)]
    batches = [asyncio.ensure_future(processor.process(ids[start : start + 6])) for start in range(0, count, 6)]
    await until(lambda: len(provider.calls) == PLACES)
    # Beyond the limit of waiting callers, calls return, so that their threads are free for other work.
    await until(lambda: sum(not batch.done() for batch in batches) <= executor.WAITING_BATCHES)
    return ids


@pytest.mark.parametrize("request_", [CASH, TERMINAL], ids=["cash", "terminal"])
async def test_payments_without_a_call_become_final_while_every_call_to_a_provider_hangs(
    payments: PaymentMaker,
    processor: LeaseExecutor[Charge],
    provider: FakeProvider,
    make_tenant: MakeTenant,
    settings: Settings,
    admin: Admin,
    request_: Any,
) -> None:
    ids = await hanging(payments, processor, provider, 60)
    neighbour = PaymentMaker(settings, Providers({}), await make_tenant())
    sold = [await neighbour.pending(request_) for _ in range(30)]
    await processor.process(sold)
    assert await statuses(admin, sold) == {"completed": 30}
    assert len(provider.calls) == PLACES
    assert await statuses(admin, ids) == {"processing": PLACES, "pending": 60 - PLACES}


async def test_cash_in_one_batch_with_hanging_payments_does_not_wait_for_them(
    payments: PaymentMaker, processor: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    await hanging(payments, processor, provider, 60)
    sold = [await payments.pending(CASH) for _ in range(3)]
    more = [await payments.pending() for _ in range(3)]
    await processor.process([more[0], sold[0], more[1], sold[1], sold[2], more[2]])
    assert await statuses(admin, sold) == {"completed": 3}


async def test_each_provider_has_separate_slots(
    payments: PaymentMaker, processor: LeaseExecutor[Charge], provider: FakeProvider, other: FakeProvider, admin: Admin
) -> None:
    await hanging(payments, processor, provider, 60)
    ids = [await payments.pending() for _ in range(5)]
    await admin.execute("UPDATE payments SET provider = 'other' WHERE id = ANY(%s)", [ids])
    await processor.process(ids)
    await eventually(lambda: statuses(admin, ids), until=lambda seen: seen == {"completed": 5})
    assert len(provider.calls) == PLACES
    assert len(other.calls) == 5


async def test_waiting_ids_are_claimed_as_soon_as_a_slot_is_free(
    payments: PaymentMaker, processor: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    ids = await hanging(payments, processor, provider, 60)
    provider.release()
    await eventually(lambda: statuses(admin, ids), until=lambda seen: seen == {"completed": 60})
    assert sorted(provider.calls) == sorted(("charge", f"{payment_id}:1") for payment_id in ids)
    await until(lambda: processor._capacity.free_slots(provider.name) == PLACES)  # released after the record


async def test_the_number_of_open_calls_never_exceeds_the_slots(
    payments: PaymentMaker, processor: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    open_now, most = 0, 0
    charge = provider.charge

    async def counted(order: Any, **until: Any) -> Any:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            await asyncio.sleep(0)
            return await charge(order, **until)
        finally:
            open_now -= 1

    provider.charge = counted  # type: ignore[method-assign, assignment]
    ids = [await payments.pending() for _ in range(60)]
    await asyncio.gather(*(processor.process(ids[start : start + 7]) for start in range(0, 60, 7)))
    await eventually(lambda: statuses(admin, ids), until=lambda seen: seen == {"completed": 60})
    assert most <= PLACES


async def test_an_expired_payment_is_cancelled_although_its_provider_has_no_free_slot(
    payments: PaymentMaker, processor: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    ids = await hanging(payments, processor, provider, 20)
    late = [await payments.pending() for _ in range(3)]
    for payment_id in late:
        await time_passes(admin, payment_id, seconds=301)
    await processor.process(late)
    assert await statuses(admin, late) == {"cancelled": 3}
    assert await statuses(admin, ids) == {"processing": PLACES, "pending": 20 - PLACES}


async def test_a_cancel_between_two_tries_is_applied_although_the_provider_has_no_free_slot(
    payments: PaymentMaker, processor: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(Unavailable("503"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    provider.calls.clear()
    await hanging(payments, processor, provider, 20)
    await payments.cancel(payment_id)
    await processor.process([payment_id])
    assert (await evidence(admin, payment_id)).status == "cancelled"


async def test_a_refund_of_cash_is_final_while_every_refund_at_a_provider_hangs(
    settings: Settings, refunds: RefundMaker, provider: FakeProvider, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "BATCH_TIMEOUT_SECONDS", 3_600.0)
    monkeypatch.setattr(executor, "WAITING_BATCHES", 4)
    sold, cash = await refunds.paid(), await refunds.paid(CASH)
    asked = [await refunds.pending(sold, 10) for _ in range(30)]
    given = await refunds.pending(cash)
    changed = settings.model_copy(update={"calls_in_flight": PLACES, "payments_in_hand": 50})
    processor = LeaseExecutor(
        REFUNDS, settings=changed, providers=Providers({provider.name: provider}), worker="few-places"
    )
    provider.calls.clear()
    provider.hold()
    batches = [asyncio.ensure_future(processor.process(asked[start : start + 3])) for start in range(0, 30, 3)]
    await until(lambda: len(provider.calls) == PLACES)
    await processor.process([given])
    assert (await refund_evidence(admin, given)).status == "completed"
    assert len(provider.calls) == PLACES
    provider.release()
    await asyncio.gather(*batches)

    async def completed() -> int:
        rows = await all_of(admin, b"SELECT id FROM refunds WHERE id = ANY(%s) AND status = 'completed'", asked)
        return len(rows)

    await eventually(completed, until=lambda count: count == 30)
    assert len(provider.calls) == 30
    await processor.drain(5)


async def test_waiting_ids_are_limited_and_the_sweep_finds_the_others(
    payments: PaymentMaker,
    processor: LeaseExecutor[Charge],
    provider: FakeProvider,
    admin: Admin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "MAX_WAITING", 5)
    ids = await hanging(payments, processor, provider, 30)
    # A batch that found no slot may still be putting its ids into the queue.
    await until(lambda: len(processor._waiting_ids[provider.name]) == 5)
    provider.release()
    await eventually(lambda: statuses(admin, ids), until=lambda seen: seen.get("completed") == PLACES + 5)

    async def swept() -> dict[str, int]:
        await processor.process(ids)
        return await statuses(admin, ids)

    await eventually(swept, until=lambda seen: seen == {"completed": 30})


async def test_worker_that_shuts_down_claims_no_waiting_ids(
    payments: PaymentMaker, processor: LeaseExecutor[Charge], provider: FakeProvider, admin: Admin
) -> None:
    ids = await hanging(payments, processor, provider, 20)
    draining = asyncio.ensure_future(processor.drain(20))
    await asyncio.sleep(0)
    provider.release()
    assert await draining == 0
    assert await statuses(admin, ids) == {"completed": PLACES, "pending": 20 - PLACES}


async def test_only_as_many_batches_wait_for_their_calls_as_the_worker_allows(
    settings: Settings, payments: PaymentMaker, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waiting batch holds a prefetched message; if all did, one hanging provider would hold up cash."""
    monkeypatch.setattr(executor, "BATCH_TIMEOUT_SECONDS", 3_600.0)
    working = LeaseExecutor(
        PAYMENTS, settings=settings, providers=Providers({provider.name: provider}), worker="w", waiting=1
    )
    provider.hold()
    first = asyncio.ensure_future(working.process([await payments.pending()]))
    await provider.heard.wait()
    async with asyncio.timeout(HANGS_SECONDS):
        summary = await working.process([await payments.pending()])
    assert repr(summary) == "1 at the provider"
    assert not first.done()
    provider.release()
    await first
    await working.drain(5)

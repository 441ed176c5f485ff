"""Lists have stable pages and filters, and a shared subscription wakes waiting requests without polling."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import MakeTenant
from tests.factories import CASH, PaymentMaker
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of
from tests.polling import DEADLINE_SECONDS, eventually
from workflows.clock import now
from workflows.errors import ResourceNotFound
from workflows.payments import await_changes
from workflows.payments.await_changes import ChangeListener, await_payment, follow_payment
from workflows.payments.queries import PaymentFilter, list_payments, payment_reads, read_timeline

LONG_SECONDS = 600
"""Longer than any test may take: a request that is not woken fails the test on any machine."""


@pytest.fixture
async def watch(engines: None) -> AsyncIterator[ChangeListener]:
    """Yield a change listener for one test."""
    made = ChangeListener(payment_reads(timeout_seconds=LONG_SECONDS))
    made.start()
    yield made
    await made.stop()


@contextmanager
def groups_read(watch: ChangeListener) -> Iterator[list[list[str]]]:
    """Yield a list that collects the ids that each statement reads for ``watch``."""
    groups: list[list[str]] = []
    flush = watch.reads._group._flush

    async def heard(group: Any) -> Any:
        groups.append([read.entity_id for read in group])
        return await flush(group)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch.reads._group, "_flush", heard)
        yield groups


async def listening(admin: Admin) -> list[int]:
    """Return the pids of the connections that execute LISTEN."""
    query = b"SELECT pid FROM pg_stat_activity WHERE application_name = 'mpac_watch' AND query = 'LISTEN payments'"
    return [row["pid"] for row in await all_of(admin, query)]


async def test_pages_are_newest_first_and_stable_while_payments_arrive(payments: PaymentMaker) -> None:
    caller = payments.tenant.device
    old = [await payments.pending() for _ in range(7)]
    seen: list[str] = []
    before = None
    while page := await list_payments(PaymentFilter(), caller=caller, limit=3, before=before):
        seen += [row["id"] for row in page]
        before = seen[-1]
        await payments.pending()
    assert seen == old[::-1]


async def test_each_filter_finds_exactly_the_matching_payments(payments: PaymentMaker, make_tenant: MakeTenant) -> None:
    caller = payments.tenant.device
    plain = await payments.pending()
    marked = await payments.pending(client_reference="till-1")
    done = await payments.pending(CASH)
    await payments.process(done)

    async def ids(**wanted: Any) -> set[str]:
        return {row["id"] for row in await list_payments(PaymentFilter(**wanted), caller=caller, limit=50, before=None)}

    assert await ids(status="completed") == {done}
    assert await ids(status="pending") == {plain, marked}
    assert await ids(client_reference="till-1") == {marked}
    assert await ids(device_id=caller.id) == {plain, marked, done}
    assert await ids(store_id="sto_other") == set()
    assert await ids(bill_id="bil_1") == set()
    assert await ids(created_from=now() - timedelta(minutes=1)) == {plain, marked, done}
    assert await ids(created_from=now() + timedelta(minutes=1)) == set()
    assert await ids(created_to=now() - timedelta(minutes=1)) == set()


async def test_payments_are_invisible_to_another_tenant(payments: PaymentMaker, make_tenant: MakeTenant) -> None:
    payment_id = await payments.pending()
    stranger = (await make_tenant()).device
    assert await list_payments(PaymentFilter(), caller=stranger, limit=50, before=None) == []
    assert (
        await list_payments(PaymentFilter(store_id=payments.tenant.store_id), caller=stranger, limit=5, before=None)
        == []
    )
    for read in (payment_reads(timeout_seconds=LONG_SECONDS).read, read_timeline):
        with pytest.raises(ResourceNotFound):
            await read(payment_id, caller=stranger)


async def test_timeline_lists_transitions_attempts_and_messages_in_order(payments: PaymentMaker) -> None:
    payment_id = await payments.pending()
    await payments.process(payment_id)
    events = await read_timeline(payment_id, caller=payments.tenant.device)
    assert [entry["type"] for entry in events if entry["type"] == "transition"] == ["transition"] * 3
    assert {"attempt_sent", "attempt_answered"} <= {entry["type"] for entry in events}
    assert [entry["at"] for entry in events] == sorted(entry["at"] for entry in events)


async def test_a_wait_is_woken_by_the_commit_and_not_by_polling(payments: PaymentMaker, watch: ChangeListener) -> None:
    await watch.listening.wait()
    payment_id = await payments.pending(CASH)
    with groups_read(watch) as read:
        waiting = asyncio.ensure_future(
            await_payment(
                payment_id, caller=payments.tenant.device, watch=watch, wait_seconds=LONG_SECONDS, since_version=1
            )
        )
        await eventually(lambda: _size(watch), until=lambda size: size == 1)
        await asyncio.sleep(0.3)  # a poll would be noticed within this time
        assert read == [[payment_id]]
        await payments.process(payment_id)
        row = await asyncio.wait_for(waiting, DEADLINE_SECONDS)
        assert row["version"] > 1


async def test_a_wait_is_woken_by_the_answer_as_well_as_by_the_claim(
    payments: PaymentMaker, provider: FakeProvider, watch: ChangeListener, admin: Admin
) -> None:
    await watch.listening.wait()
    payment_id = await payments.pending()
    provider.hold()
    working = asyncio.ensure_future(payments.process(payment_id))
    await provider.heard.wait()
    waiting = asyncio.ensure_future(
        await_payment(
            payment_id, caller=payments.tenant.device, watch=watch, wait_seconds=LONG_SECONDS, since_version=2
        )
    )
    await eventually(lambda: _size(watch), until=lambda size: size == 1)
    provider.release()
    row = await asyncio.wait_for(waiting, DEADLINE_SECONDS)
    assert (row["status"], row["version"]) == ("completed", 3)
    await working


async def test_a_wait_is_woken_by_a_cancel(payments: PaymentMaker, watch: ChangeListener, admin: Admin) -> None:
    await watch.listening.wait()
    payment_id = await payments.pending()
    waiting = asyncio.ensure_future(
        await_payment(
            payment_id, caller=payments.tenant.device, watch=watch, wait_seconds=LONG_SECONDS, since_version=1
        )
    )
    await eventually(lambda: _size(watch), until=lambda size: size == 1)
    await payments.cancel(payment_id)
    assert (await asyncio.wait_for(waiting, DEADLINE_SECONDS))["status"] == "cancelled"


async def test_a_hundred_waits_share_one_connection(
    payments: PaymentMaker, watch: ChangeListener, admin: Admin
) -> None:
    await watch.listening.wait()
    connections = len(await listening(admin))
    payment_id = await payments.pending(CASH)
    waits = [
        asyncio.ensure_future(
            await_payment(
                payment_id, caller=payments.tenant.device, watch=watch, wait_seconds=LONG_SECONDS, since_version=1
            )
        )
        for _ in range(100)
    ]
    await eventually(lambda: _size(watch), until=lambda size: size == 100)
    assert len(await listening(admin)) == connections
    await payments.process(payment_id)
    assert all(row["version"] > 1 for row in await asyncio.gather(*waits))
    await eventually(lambda: _size(watch), until=lambda size: size == 0)


async def _size(watch: ChangeListener) -> int:
    return sum(len(futures) for futures in watch._waiters.values())


async def test_a_wait_ends_with_the_present_row_when_nothing_moves(
    payments: PaymentMaker, watch: ChangeListener
) -> None:
    payment_id = await payments.pending()
    row = await await_payment(
        payment_id, caller=payments.tenant.device, watch=watch, wait_seconds=0.05, since_version=1
    )
    assert row["version"] == 1
    await eventually(lambda: _size(watch), until=lambda size: size == 0)


async def test_wait_for_a_final_or_newer_payment_returns_at_once(payments: PaymentMaker, watch: ChangeListener) -> None:
    payment_id = await payments.pending(CASH)
    await payments.process(payment_id)

    for version in (1, None):
        asking = await_payment(
            payment_id, caller=payments.tenant.device, watch=watch, wait_seconds=LONG_SECONDS, since_version=version
        )
        assert (await asyncio.wait_for(asking, DEADLINE_SECONDS))["status"] == "completed"


async def test_a_wait_survives_the_loss_of_the_subscription(
    payments: PaymentMaker, watch: ChangeListener, admin: Admin
) -> None:
    await watch.listening.wait()
    pids = await listening(admin)  # includes the connection of the API, if it runs
    payment_id = await payments.pending(CASH)
    waiting = asyncio.ensure_future(
        await_payment(
            payment_id, caller=payments.tenant.device, watch=watch, wait_seconds=LONG_SECONDS, since_version=1
        )
    )
    await eventually(lambda: _size(watch), until=lambda size: size == 1)
    await admin.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [pids])
    await payments.process(payment_id)
    row = await asyncio.wait_for(waiting, DEADLINE_SECONDS)
    assert row["version"] > 1
    await eventually(lambda: listening(admin), until=lambda again: len(set(again) - set(pids)) == len(pids))


async def test_a_wait_for_another_tenants_payment_finds_nothing(
    payments: PaymentMaker, make_tenant: MakeTenant, watch: ChangeListener
) -> None:
    payment_id = await payments.pending()
    stranger = (await make_tenant()).device
    with pytest.raises(ResourceNotFound):
        await await_payment(payment_id, caller=stranger, watch=watch, wait_seconds=LONG_SECONDS, since_version=1)
    await eventually(lambda: _size(watch), until=lambda size: size == 0)


async def test_waits_end_when_a_listener_stops_that_was_never_started() -> None:
    listener = ChangeListener(payment_reads(timeout_seconds=LONG_SECONDS))
    waiting, cancelled = listener.next_change("pay_1"), listener.next_change("pay_1")
    cancelled.cancel()
    listener._wake("pay_1:2 pay_2:1")  # before the event loop has told the listener about the cancelled one
    assert (waiting.done(), cancelled.cancelled()) == (True, True)
    waiting, cancelled = listener.next_change("pay_1"), listener.next_change("pay_1")
    cancelled.cancel()
    await listener.stop()
    assert (waiting.done(), cancelled.cancelled()) == (True, True)


async def test_the_listener_goes_on_after_an_unexpected_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(await_changes, "address", broken)
    monkeypatch.setattr(await_changes, "RECONNECT_SECONDS", 0)
    listener = ChangeListener(payment_reads(timeout_seconds=LONG_SECONDS))
    listener.start()

    async def failures() -> int:
        return [getattr(record, "event", "") for record in caplog.records].count("payment_listener.failed")

    await eventually(failures, until=lambda n: n >= 2, within=DEADLINE_SECONDS)
    await listener.stop()


async def test_a_stream_ends_after_its_longest_time(payments: PaymentMaker, watch: ChangeListener) -> None:
    payment_id = await payments.pending(CASH)
    found = follow_payment(payment_id, caller=payments.tenant.device, watch=watch, longest_seconds=0.5)
    rows = [row async for row in found]
    assert [row and row["version"] for row in rows] == [1, None]

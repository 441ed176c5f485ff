"""A shared subscription wakes waiting requests without polling, and exists only while somebody waits."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.conftest import MakeTenant
from tests.factories import CASH, PaymentMaker
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, all_of
from tests.polling import DEADLINE_SECONDS, eventually
from workflows.errors import ResourceNotFound
from workflows.payments import await_changes
from workflows.payments.await_changes import ChangeListener, await_payment, follow_payment
from workflows.payments.queries import payment_reads

LONG_SECONDS = 600
"""Longer than any test may take: a request that is not woken fails the test on any machine."""


@pytest.fixture
async def watch(engines: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChangeListener]:
    """Yield a change listener for one test."""
    monkeypatch.setattr(await_changes, "IDLE_SECONDS", LONG_SECONDS)
    made = ChangeListener(payment_reads(timeout_seconds=LONG_SECONDS))
    made.start()
    yield made
    await made.stop()


async def subscribed(watch: ChangeListener) -> None:
    """Return once ``watch`` receives notifications, because somebody has waited."""
    watch.next_change("pay_none").cancel()
    await watch.listening.wait()


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


async def test_a_wait_is_woken_by_the_commit_and_not_by_polling(payments: PaymentMaker, watch: ChangeListener) -> None:
    await subscribed(watch)
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
    await subscribed(watch)
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
    await subscribed(watch)
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
    await subscribed(watch)
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
    await subscribed(watch)
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
    watch.next_change("pay_none")
    await eventually(lambda: listening(admin), until=lambda again: bool(set(again) - set(pids)))


async def test_nothing_listens_until_somebody_waits_and_after_the_last_wait(
    payments: PaymentMaker, watch: ChangeListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(await_changes, "IDLE_SECONDS", 0.05)
    payment_id = await payments.pending(CASH)
    caller = payments.tenant.device
    await watch.reads.read(payment_id, caller=caller)
    assert not watch._wanted.is_set()
    for _ in range(2):  # the second opens another connection
        waiting = watch.next_change(payment_id)
        await watch.listening.wait()  # while it waits, the connection stays open
        waiting.cancel()

        async def is_listening() -> bool:
            return watch.listening.is_set()

        await eventually(is_listening, until=lambda found: not found)


async def test_a_change_before_the_subscription_is_acknowledged_wakes_the_wait(
    payments: PaymentMaker, watch: ChangeListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_connect = asyncio.Event()
    connect = psycopg.AsyncConnection.connect

    async def connect_later(*args: Any, **kwargs: Any) -> Any:
        await may_connect.wait()
        return await connect(*args, **kwargs)

    payment_id = await payments.pending(CASH)
    with groups_read(watch) as read, monkeypatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "connect", connect_later)
        waiting = asyncio.ensure_future(
            await_payment(
                payment_id, caller=payments.tenant.device, watch=watch, wait_seconds=LONG_SECONDS, since_version=1
            )
        )
        await eventually(lambda: _number_of(read), until=lambda number: number == 1)
        await payments.process(payment_id)  # on connections that are open already
        may_connect.set()
        row = await asyncio.wait_for(waiting, DEADLINE_SECONDS)
    assert row["version"] > 1


async def _number_of(groups: list[list[str]]) -> int:
    return len(groups)


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
    listener.next_change("pay_1").cancel()

    async def failures() -> int:
        return [getattr(record, "event", "") for record in caplog.records].count("payment_listener.failed")

    await eventually(failures, until=lambda n: n >= 2, within=DEADLINE_SECONDS)
    await listener.stop()


async def test_a_stream_ends_after_its_longest_time(payments: PaymentMaker, watch: ChangeListener) -> None:
    payment_id = await payments.pending(CASH)
    found = follow_payment(payment_id, caller=payments.tenant.device, watch=watch, longest_seconds=0.5)
    rows = [row async for row in found]
    assert [row and row["version"] for row in rows] == [1, None]

"""Lost, late and duplicate messages, and an unreachable broker, cost time but never money (F4, F5, F6, F9)."""

import asyncio
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery import Celery
from kombu.entity import Exchange, Queue
from redis.asyncio import Redis

from tests.chaos.broken_messages import BROKEN_ENVELOPES, CALL, CARD, UNREADABLE, envelope
from tests.chaos.queues import command, wait_until_consumed, wait_until_empty, wait_until_queued
from tests.live_stack import RECOVERY_SECONDS, LiveStack
from tests.polling import GENEROUS_SECONDS, eventually

BACKLOG = 1_000
PAUSE_SECONDS = 120
AWAY_SECONDS, LONGEST_EXPIRY_SECONDS = 600, 900
BROKER_WAIT_SECONDS = 3  # minimum duration of a request that waits for the broker: its connection timeout
NOISE_FACTOR = 3  # factor between two measurements a second apart, on a busy machine
WORKERS = ("worker-payments-1", "worker-payments-2")


def publish(live: LiveStack, batches: list[list[str]]) -> None:
    """Send nudges for payments in ``batches``, in addition to those of the API."""
    app = Celery(broker=live.stack.urls.broker, set_as_current=False)
    app.conf.task_queues = [Queue("payments", Exchange("payments", type="direct"), routing_key="payments")]
    with app.connection_for_write() as connection:
        for batch in batches:
            app.send_task(
                "payments.process", args=(batch,), queue="payments", connection=connection, ignore_result=True
            )
    app.close()


@asynccontextmanager
async def payment_workers_stopped(live: LiveStack) -> AsyncIterator[None]:
    """Stop the workers for payments inside the block."""
    await asyncio.gather(*(live.stack.stop(name) for name in WORKERS))
    yield
    await asyncio.gather(*(live.stack.start(name) for name in WORKERS))


@asynccontextmanager
async def no_worker_restarts(live: LiveStack) -> AsyncIterator[None]:
    """Assert that no worker process is restarted inside the block."""
    before = {name: pid for name, pid in live.stack.pids.items() if name.startswith("worker")}
    assert len(before) > len(WORKERS)
    yield
    assert {name: live.stack.pids.get(name) for name in before} == before


async def test_a_thousand_payments_whose_messages_were_lost_are_completed_within_a_minute(
    live: LiveStack, broker: Redis
) -> None:
    async with payment_workers_stopped(live):
        ids = await live.pay_many(BACKLOG)
        await wait_until_queued(broker, "payments", ids)
        assert await live.statuses(ids) == {"pending": BACKLOG}
        await broker.flushall()
    assert await live.final_statuses(ids, within=RECOVERY_SECONDS) == {"completed": BACKLOG}


async def test_messages_delivered_several_times_charge_each_payment_once(live: LiveStack, broker: Redis) -> None:
    async with payment_workers_stopped(live):
        ids = await live.pay_many(60, fate="slow:300")
        for some, times in ((ids[:30], 2), (ids[30:], 5)):
            batches = [[payment_id] for payment_id in some] + [some]
            await asyncio.gather(*(asyncio.to_thread(publish, live, batches) for _ in range(times)))
    assert await live.final_statuses(ids) == {"completed": 60}
    await asyncio.to_thread(publish, live, [[payment_id] for payment_id in ids] + [ids])
    await wait_until_consumed(broker, "payments")
    events = await live.events(ids)
    assert (events["claim"], events["complete"]) == (60, 60)
    for payment_id in ids:
        assert await live.charges(payment_id) == [1_000]


async def test_messages_about_unknown_payments_do_not_disturb_the_workers(live: LiveStack, broker: Redis) -> None:
    async with no_worker_restarts(live):
        await asyncio.to_thread(publish, live, [["pay_unknown"], [], ["x" * 5_000], ["pay_1", "pay_1"]])
        await wait_until_consumed(broker, "payments")
        await live.wait_for_status(await live.pay(), "completed")


async def test_unreadable_messages_become_dead_letters_and_do_not_disturb_the_workers(
    live: LiveStack, broker: Redis
) -> None:
    operator = live.api.signer.user(live.tenant, role="system_op")
    before = {letter["id"] for letter in await live.sql("SELECT id FROM dead_letters")}

    async def new_letters() -> list[dict[str, Any]]:
        letters = await live.sql("SELECT * FROM dead_letters ORDER BY id")
        return [letter for letter in letters if letter["id"] not in before]

    planted = [*(envelope(*parts) for parts in UNREADABLE.values()), *BROKEN_ENVELOPES]
    async with no_worker_restarts(live):
        await broker.lpush("payments", *planted)
        letters = await eventually(new_letters, until=lambda found: len(found) >= len(planted), within=GENEROUS_SECONDS)
        await wait_until_consumed(broker, "payments")
        await live.wait_for_status(await live.pay(), "completed")
    assert len(letters) == len(await new_letters()) == len(planted), [letter["reason"] for letter in letters]
    assert CARD not in str(letters)
    (unknown,) = (letter for letter in letters if letter["task"] == "payments.invented")
    assert (unknown["arguments"], unknown["message"]) == (CALL[:2], None)
    for letter in letters:
        path = f"/ops/dead-letters/{letter['id']}"
        if letter is not unknown:
            assert letter["message"], letter
            assert (await live.api.post(f"{path}/requeue", as_=operator)).status == 409
        assert (await live.api.post(f"{path}/close", {"reason": "planted"}, as_=operator)).status == 200
    answer = await live.api.get("/ops/dead-letters?open=true&limit=200", as_=operator)
    assert not {letter["id"] for letter in answer.body["data"]} & {letter["id"] for letter in letters}


async def test_a_message_that_crashes_its_task_becomes_a_dead_letter_with_its_traceback(live: LiveStack) -> None:
    app = Celery(broker=live.stack.urls.broker, set_as_current=False)
    app.conf.task_queues = [Queue("payments", Exchange("payments", type="direct"), routing_key="payments")]

    def send() -> None:
        app.send_task("payments.process", args=(), kwargs={"ids_of": ["x"]}, queue="payments", ignore_result=True)
        app.close()

    await asyncio.to_thread(send)
    letters = await eventually(
        lambda: live.sql("SELECT * FROM dead_letters WHERE arguments::text LIKE '%%ids_of%%'"),
        until=bool,
        within=GENEROUS_SECONDS,
    )
    assert letters[0]["task"] == "payments.process"
    assert "TypeError" in letters[0]["reason"]
    await live.wait_for_status(await live.pay(), "completed")


async def stop_broker(live: LiveStack) -> None:
    """Stop the broker, so that it refuses connections."""
    await live.stack.stop("valkey")


async def freeze_broker(live: LiveStack) -> None:
    """Freeze the broker, so that it accepts connections but does not answer."""
    live.stack.kill("valkey", signal.SIGSTOP)


async def start_broker(live: LiveStack) -> None:
    await live.stack.start("valkey")


async def thaw_broker(live: LiveStack) -> None:
    live.stack.kill("valkey", signal.SIGCONT)


Deed = Callable[[LiveStack], Awaitable[None]]


@dataclass
class Till:
    """A terminal that measures the duration of its requests."""

    live: LiveStack
    ids: list[str] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    async def sell(self, count: int = 30, **fields: Any) -> None:
        """Submit payments one after the other, and assert that no request waits for the broker."""
        for _ in range(count):
            started = time.monotonic()
            self.ids.append(await self.live.pay(**fields))
            self.took.append(time.monotonic() - started)
        assert max(self.took) < BROKER_WAIT_SECONDS

    @property
    def usual(self) -> float:
        """The median duration in seconds."""
        return statistics.median(self.took)


async def warm_till(live: LiveStack) -> Till:
    """Return a ``Till`` that has made thirty sales, so that all caches and connections are warm."""
    await Till(live).sell()
    till = Till(live)
    await till.sell()
    assert await live.final_statuses(till.ids) == {"completed": len(till.ids)}
    return till


@pytest.mark.parametrize(("hurt", "mend"), [(stop_broker, start_broker), (freeze_broker, thaw_broker)])
async def test_payments_are_accepted_as_quickly_as_before_while_the_broker_is_unreachable(
    live: LiveStack, hurt: Deed, mend: Deed
) -> None:
    before, meanwhile = await warm_till(live), Till(live)
    await hurt(live)
    await meanwhile.sell()
    assert await live.statuses(meanwhile.ids) == {
        "pending": 30
    }  # no worker has received them, because the broker is unreachable
    await mend(live)
    assert await live.final_statuses(meanwhile.ids, within=RECOVERY_SECONDS) == {"completed": 30}
    assert meanwhile.usual < NOISE_FACTOR * max(before.usual, (await warm_till(live)).usual)


async def test_workers_reconnect_after_their_connections_were_killed(live: LiveStack, broker: Redis) -> None:
    async with no_worker_restarts(live):
        killed = 0
        for _ in range(10):
            killed += await command(broker, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            killed += await command(broker, "CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(0.2)
        assert killed > 10
        ids = await live.pay_many(50)
        assert await live.final_statuses(ids, within=RECOVERY_SECONDS) == {"completed": 50}
        await wait_until_empty(broker, "payments")


async def test_workers_reconnect_after_the_broker_was_restarted_without_data(live: LiveStack, broker: Redis) -> None:
    async with no_worker_restarts(live):
        await broker.flushall()
        await live.stack.stop("valkey")
        ids = await live.pay_many(20)
        await live.stack.start("valkey")
        ids += await live.pay_many(20)
        assert await live.final_statuses(ids, within=RECOVERY_SECONDS) == {"completed": 40}


@pytest.mark.long
async def test_workers_reconnect_after_the_broker_was_paused_for_two_minutes(live: LiveStack, broker: Redis) -> None:
    async with no_worker_restarts(live):
        await command(broker, "CLIENT", "PAUSE", str(PAUSE_SECONDS * 1_000), "ALL")
        ids = await live.pay_many(200)
        assert await live.statuses(ids) == {"pending": 200}
        assert await live.final_statuses(ids, within=PAUSE_SECONDS + RECOVERY_SECONDS) == {"completed": 200}


REPORTS = (
    {"method": {"type": "cash", "cash_received": 2_000}},
    {"method": {"type": "card", "approval_code": "A1", "slip_number": "S1"}},
    {"method": {"type": "emoney", "result": "approved"}, "tip_amount": 100},
)
"""Sales that are complete when they are submitted: cash, or approved by the terminal's own application."""


async def test_cash_and_terminal_sales_are_completed_after_a_broker_outage_beyond_their_expiry(
    live: LiveStack,
) -> None:
    made, asked = Till(live), Till(live)
    async with no_worker_restarts(live):
        await live.stack.stop("valkey")
        for report in REPORTS:
            await made.sell(4, expires_in=1, **report)
        await asked.sell(4, expires_in=1)
        ids = made.ids + asked.ids
        query = "SELECT count(*) AS n FROM payments WHERE id = ANY(%s) AND expires_at > now()"
        await eventually(lambda: live.sql(query, ids), until=lambda rows: rows[0]["n"] == 0, within=GENEROUS_SECONDS)
        assert await live.statuses(ids) == {"pending": len(ids)}
        await live.stack.start("valkey")
        assert await live.final_statuses(ids, within=RECOVERY_SECONDS) == {"completed": len(made.ids), "cancelled": 4}
    assert await live.statuses(made.ids) == {"completed": len(made.ids)}
    assert sum([(await live.row(one))["captured_amount"] for one in made.ids]) == 12 * 1_000 + 4 * 100


@pytest.mark.long
async def test_no_payment_is_lost_while_the_broker_is_unreachable_for_ten_minutes(live: LiveStack) -> None:
    before, patient, usual, made = await warm_till(live), Till(live), Till(live), Till(live)
    loop = asyncio.get_running_loop()
    async with no_worker_restarts(live):
        await live.stack.stop("valkey")
        until = loop.time() + AWAY_SECONDS
        while loop.time() < until:
            await patient.sell(20, expires_in=LONGEST_EXPIRY_SECONDS)
            await usual.sell(2)
            for report in REPORTS:
                await made.sell(1, **report)
            await asyncio.sleep(1)
        assert await live.statuses(patient.ids) == {"pending": len(patient.ids)}
        await live.stack.start("valkey")
        assert await live.final_statuses(patient.ids) == {"completed": len(patient.ids)}
        ended = await live.final_statuses(usual.ids)
        # Cash and terminal sales have already been taken, so they are completed however late they are processed.
        assert await live.final_statuses(made.ids) == {"completed": len(made.ids)}
    assert patient.usual < NOISE_FACTOR * max(before.usual, (await warm_till(live)).usual)
    # A charge that is not started within five minutes is cancelled, unless the terminal requested a longer time.
    assert ended["cancelled"] > 0
    assert ended["cancelled"] + ended["completed"] == len(usual.ids)
    for payment_id in usual.ids:
        assert bool(await live.charges(payment_id)) == ((await live.row(payment_id))["status"] == "completed")

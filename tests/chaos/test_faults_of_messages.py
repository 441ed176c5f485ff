"""Messages that are lost, late or doubled, and a broker that is away: latency, never money (F4, F5, F6, F9)."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest
from celery import Celery
from kombu.entity import Exchange, Queue
from redis.asyncio import Redis

from tests.living import TAKE_UP_SECONDS, Living
from tests.waiting import eventually

BACKLOG = 1_000


async def command(client: Redis, *words: str) -> None:
    """A command that the client library has no method for."""
    await client.execute_command(*words)  # type: ignore[no-untyped-call]


@pytest.fixture
async def broker(town: Living) -> AsyncIterator[Redis]:
    """The broker, as somebody with its password sees it."""
    client = Redis.from_url(town.stack.urls.broker, protocol=2)
    yield client
    await client.aclose()


def publish(town: Living, batches: list[list[str]]) -> None:
    """Nudges for these payments, beside those of the API."""
    app = Celery(broker=town.stack.urls.broker, set_as_current=False)
    app.conf.task_queues = [Queue("payments", Exchange("payments", type="direct"), routing_key="payments")]
    with app.connection_for_write() as connection:
        for batch in batches:
            app.send_task(
                "payments.process", args=(batch,), queue="payments", connection=connection, ignore_result=True
            )
    app.close()


async def test_a_thousand_queued_messages_lost_are_all_taken_up_within_a_minute(town: Living, broker: Redis) -> None:
    for name in town.workers():
        town.stack.kill(name, signal.SIGSTOP)
    ids = await town.pay_many(BACKLOG)
    assert await town.statuses(ids) == {"pending": BACKLOG}
    await broker.flushall()
    for name in town.workers():
        town.stack.kill(name, signal.SIGCONT)
    assert await town.settled(ids, within=TAKE_UP_SECONDS) == {"completed": BACKLOG}


@pytest.mark.parametrize("times", [2, 5])
async def test_each_message_delivered_several_times_at_once_is_the_same_as_once(town: Living, times: int) -> None:
    ids = await town.pay_many(60, fate="slow:300")
    batches = [[payment_id] for payment_id in ids] + [ids]
    await asyncio.gather(*(asyncio.to_thread(publish, town, batches) for _ in range(times)))
    assert await town.settled(ids) == {"completed": 60}
    await asyncio.to_thread(publish, town, batches)
    events = await town.events(ids)
    assert (events["claim"], events["complete"]) == (60, 60)
    for payment_id in ids[:10]:
        assert await town.charges(payment_id) == [1_000]


async def test_messages_about_nothing_and_nonsense_harm_nobody(town: Living) -> None:
    await asyncio.to_thread(publish, town, [["pay_unknown"], [], ["x" * 5_000], ["pay_1", "pay_1"]])
    payment_id = await town.pay()
    await town.reaches(payment_id, "completed", within=20)


async def test_a_poison_message_is_buried_with_its_traceback_and_others_go_on(town: Living) -> None:
    app = Celery(broker=town.stack.urls.broker, set_as_current=False)
    app.conf.task_queues = [Queue("payments", Exchange("payments", type="direct"), routing_key="payments")]

    def send() -> None:
        app.send_task("payments.process", args=(), kwargs={"ids_of": ["x"]}, queue="payments", ignore_result=True)
        app.close()

    await asyncio.to_thread(send)
    letters = await eventually(
        lambda: town.sql("SELECT * FROM dead_letters WHERE arguments::text LIKE '%%ids_of%%'"), until=bool, within=20
    )
    assert letters[0]["task"] == "payments.process"
    assert "TypeError" in letters[0]["reason"]
    await town.reaches(await town.pay(), "completed", within=20)


async def test_while_the_broker_is_away_payments_are_accepted_as_quickly_as_ever(town: Living) -> None:
    await town.pay_many(20)  # so that everything is warm
    await town.stack.stop("valkey")
    ids, slowest = [], 0.0
    for _ in range(30):
        started = time.monotonic()
        ids.append(await town.pay())
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 1.0
    await town.stack.start("valkey")
    assert await town.settled(ids, within=TAKE_UP_SECONDS) == {"completed": 30}


async def test_after_a_storm_of_killed_connections_workers_consume_again_unaided(town: Living, broker: Redis) -> None:
    for _ in range(10):
        await command(broker, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await command(broker, "CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(0.2)
    ids = await town.pay_many(50)
    assert await town.settled(ids, within=TAKE_UP_SECONDS) == {"completed": 50}


@pytest.mark.long
async def test_a_broker_that_is_paused_for_two_minutes_is_forgiven(town: Living, broker: Redis) -> None:
    await command(broker, "CLIENT", "PAUSE", "120000", "ALL")
    ids = await town.pay_many(200)
    assert await town.settled(ids, within=120 + TAKE_UP_SECONDS) == {"completed": 200}


@pytest.mark.long
async def test_a_broker_that_is_away_for_five_minutes_delays_and_loses_nothing(town: Living) -> None:
    await town.stack.stop("valkey")
    loop = asyncio.get_running_loop()
    until, ids = loop.time() + 300, []
    while loop.time() < until:
        ids += await town.pay_many(20)
        await asyncio.sleep(1)
    await town.stack.start("valkey")
    assert await town.settled(ids, within=TAKE_UP_SECONDS * 2) == {"completed": len(ids)}

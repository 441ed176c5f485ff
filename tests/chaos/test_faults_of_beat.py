"""With several beats, or with one that is dead or stopped for 26 hours, each period is closed once and in order (F24).

No time passes: the tests back-date the opening of stores, so that periods have already ended. Whatever happens to the
broker's keys, sweeps continue within 30 s. If beat is dead or frozen, other processes report it.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis.asyncio import Redis

from mpac.stack.health import fetch_health, health_problems
from tests.chaos.beats import Beats, beats_beside
from tests.chaos.queues import UNACKNOWLEDGED, command, wait_until_consumed
from tests.factories import Tenant
from tests.live_stack import LiveStack
from tests.polling import eventually
from workflows.clock import now
from workflows.ids import new_id

UNSUPERVISED = True
"""The supervisor does not restart a beat that is killed: another beat has to take over."""

SILENCE_SECONDS = 9
VARIABLES = {"MPAC_SILENCE_SECONDS": str(SILENCE_SECONDS)}

QUEUES = ("payments", "refunds", "settlements", "webhooks", "sweeps")
STORES = 20
CATCH_UP_SECONDS = 60
SWEPT_WITHIN_SECONDS = 30
SILENT_WITHIN_SECONDS = SILENCE_SECONDS + 60  # two checks of silence, on a busy machine
FROZEN_SECONDS = 12  # longer than any timeout of a broker call; nothing logs that it waits for a frozen broker
NOTICED_WITHIN_SECONDS = 60  # time to notice that the broker has ended, on a busy machine


@pytest.fixture
def beats(live: LiveStack, tmp_path: Path) -> Iterator[Beats]:
    """Yield further beats beside the stack's own, and stop them afterwards."""
    with beats_beside(live.stack, tmp_path / "beats") as further:
        yield further


async def open_stores_before(live: LiveStack, hours: float, *, count: int = STORES) -> list[str]:
    """Insert ``count`` stores that were opened ``hours`` ago, and return their ids.

    The stores have different cut-offs and no period yet.
    """
    mine: Tenant = live.tenant
    at = now() - timedelta(hours=hours)
    ids = [new_id("store") for _ in range(count)]
    for number, store_id in enumerate(ids):
        await live.sql(
            """INSERT INTO stores (id, merchant_id, name, currency, time_zone, cut_off, created_at, updated_at)
               VALUES (%s, %s, 's', 'JPY', 'Asia/Tokyo', %s, %s, %s)""",
            *(store_id, mine.merchant_id, f"{number % 24:02}:{7 * number % 60:02}", at, at),
        )
    return ids


async def periods(live: LiveStack, stores: list[str]) -> list[dict[str, Any]]:
    """Return the stores' settlements in order, each with the number of its closes."""
    return await live.sql(
        """SELECT s.*, (SELECT count(*) FROM settlement_history h WHERE h.settlement_id = s.id AND h.event = 'close') AS closes
           FROM settlements s WHERE s.store_id = ANY(%s) ORDER BY s.store_id, s.start_at""",
        stores,
    )


async def wait_until_caught_up(live: LiveStack, stores: list[str]) -> list[dict[str, Any]]:
    """Wait until each store's running period ends in the future, and return their settlements."""
    count = "SELECT count(*) AS count FROM settlements WHERE store_id = ANY(%s) AND status = 'open' AND end_at > now()"
    await eventually(
        lambda: live.sql(count, stores), until=lambda rows: rows[0]["count"] == len(stores), within=CATCH_UP_SECONDS
    )
    return await periods(live, stores)


def check_chains(rows: list[dict[str, Any]], stores: list[str], *, since: datetime) -> None:
    """Assert that each store has one chain of periods from ``since`` to now.

    Each period before the running one was closed once and in order.
    """
    assert {row["store_id"] for row in rows} == set(stores)
    for store_id in stores:
        *closed, running = [row for row in rows if row["store_id"] == store_id]
        assert closed[0]["start_at"] <= since < closed[0]["end_at"]
        assert [(row["status"], row["closes"]) for row in closed] == [("closed", 1)] * len(closed)
        assert (running["status"], running["closes"]) == ("open", 0)
        for before, after in pairwise([*closed, running]):
            assert before["end_at"] == after["start_at"]
            assert before["closed_at"] <= after["created_at"]  # the close of a period opens the next one
        for before, after in pairwise(closed):
            assert before["closed_at"] < after["closed_at"]


@pytest.mark.parametrize("number", [2, 3])
async def test_several_concurrent_beats_close_each_period_once(live: LiveStack, beats: Beats, number: int) -> None:
    for each in range(1, number):
        beats.start(f"beat-{each + 1}")
    await beats.tick()
    since = now() - timedelta(hours=50)
    stores = await open_stores_before(live, 50)
    paying = asyncio.ensure_future(live.pay_many(100))
    for _ in range(number):  # nudges sent concurrently, besides those of the beats
        await asyncio.to_thread(live.nudge, "settlements.open_due")
    rows = await wait_until_caught_up(live, stores)
    check_chains(rows, stores, since=since)
    assert len(rows) >= 3 * len(stores)
    ids = await paying
    assert await live.final_statuses(ids) == {"completed": 100}
    assert await live.events(ids) == {"create": 100, "claim": 100, "complete": 100}
    assert [process.poll() for process in beats.processes.values()] == [None] * (number - 1)  # all still run


async def check_days_pass(live: LiveStack) -> None:
    """Assert that stores opened yesterday catch up, whichever beat sends the sweeps."""
    stores, since = await open_stores_before(live, 26, count=3), now() - timedelta(hours=26)
    await asyncio.to_thread(live.nudge, "settlements.open_due")
    check_chains(await wait_until_caught_up(live, stores), stores, since=since)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
async def test_sweeps_continue_when_one_of_two_beats_stops(
    live: LiveStack, beats: Beats, number: signal.Signals
) -> None:
    second = beats.start("second")
    await beats.tick()
    live.stack.kill("beat", number)
    await check_days_pass(live)
    if number == signal.SIGSTOP:
        live.stack.kill("beat", signal.SIGCONT)  # both beats continue
    assert second.poll() is None
    await check_days_pass(live)


async def check_sweeps_continue(live: LiveStack) -> None:
    """Assert that a retry, which only a sweep can start, happens within the promised 30 s."""
    before = time.monotonic()
    payment_id = await live.pay(fate="unavailable:1")
    await live.wait_for_status(payment_id, "completed", within=SWEPT_WITHIN_SECONDS)
    assert time.monotonic() - before < SWEPT_WITHIN_SECONDS


async def flush_broker(broker: Redis) -> None:
    """Delete all keys of the broker."""
    await broker.flushall()


async def delete_keys(broker: Redis) -> None:
    """Delete each key of the broker except the queues, one after the other."""
    async for key in broker.scan_iter("*"):
        if key.decode() not in QUEUES:
            await broker.delete(key)


async def kill_connections(broker: Redis) -> None:
    """Make the broker close all connections, several times."""
    for _ in range(5):
        await command(broker, "CLIENT", "KILL", "TYPE", "normal")
        await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "fault",
    [flush_broker, delete_keys, kill_connections],
    ids=lambda fault: fault.__name__,
)
async def test_sweeps_continue_after_the_broker_lost_keys_or_connections(
    live: LiveStack, broker: Redis, fault: Callable[[Redis], Awaitable[None]]
) -> None:
    await fault(broker)
    await check_sweeps_continue(live)


class BrokerConnectionLosses:
    """Count, in its log, how often the worker for sweeps has lost its connection to the broker."""

    def __init__(self, live: LiveStack) -> None:
        self._log = live.stack.home.logs / "worker-other.log"
        self._before = self._count()

    def _count(self) -> int:
        return self._log.read_text().count("Connection to broker lost")

    async def wait_for_next(self) -> None:
        """Wait until the connection was lost once more than before."""

        async def found() -> int:
            return self._count()

        self._before = await eventually(found, until=lambda count: count > self._before, within=NOTICED_WITHIN_SECONDS)


async def test_sweeps_continue_after_the_broker_was_frozen_or_lost_its_data(live: LiveStack) -> None:
    live.stack.kill("valkey", signal.SIGSTOP)
    await asyncio.sleep(FROZEN_SECONDS)
    live.stack.kill("valkey", signal.SIGCONT)
    await check_sweeps_continue(live)
    losses = BrokerConnectionLosses(live)
    live.stack.kill("valkey", signal.SIGKILL)  # no data of the broker survives
    await losses.wait_for_next()
    await live.stack.start("valkey")
    await check_sweeps_continue(live)


async def test_workers_survive_the_loss_of_the_broker_while_they_hold_messages(live: LiveStack, broker: Redis) -> None:
    losses, pids = BrokerConnectionLosses(live), dict(live.stack.pids)
    async with await psycopg.AsyncConnection.connect(live.stack.urls.database) as holder:
        await holder.execute("LOCK TABLE payments")  # each sweep waits for the lock until its statement times out
        await eventually(lambda: broker.hlen(UNACKNOWLEDGED), until=bool)
        live.stack.kill("valkey", signal.SIGKILL)
        await losses.wait_for_next()
    await live.stack.start("valkey")
    await check_sweeps_continue(live)
    assert {name: pid for name, pid in live.stack.pids.items() if name != "valkey"} == {
        name: pid for name, pid in pids.items() if name != "valkey"
    }


async def complaints_of(live: LiveStack) -> list[str]:
    """Return the complaints that `mpac status` prints about the stack."""
    info = live.stack.info()
    return health_problems(info, await asyncio.to_thread(fetch_health, info))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
async def test_a_dead_or_frozen_beat_is_reported_until_it_returns(live: LiveStack, number: signal.Signals) -> None:
    async def state() -> str:
        answer = await live.api.get("//health/ready")
        assert answer.status == 200
        return str(answer.body["beat"])

    async def reported() -> list[str]:
        lines = (live.stack.home.logs / "worker-other.log").read_text().splitlines()
        return [line for line in lines if '"event":"beat.silent"' in line]

    await eventually(state, until=lambda said: said == "heard", within=SILENT_WITHIN_SECONDS)
    before = len(await reported())
    live.stack.kill("beat", number)
    await eventually(reported, until=lambda lines: len(lines) > before, within=SILENT_WITHIN_SECONDS)
    await eventually(state, until=lambda said: said == "silent", within=SILENT_WITHIN_SECONDS)
    assert "Beat is silent" in "".join(await complaints_of(live))
    if number == signal.SIGSTOP:
        live.stack.kill("beat", signal.SIGCONT)
    else:
        await live.stack.start("beat")
    await eventually(state, until=lambda said: said == "heard", within=SWEPT_WITHIN_SECONDS)
    assert await complaints_of(live) == []


async def test_a_beat_that_was_stopped_for_26_hours_catches_up_in_order(live: LiveStack, broker: Redis) -> None:
    await live.stack.stop("beat")
    await wait_until_consumed(broker, "sweeps")  # the messages that beat sent before it was stopped
    stores = await open_stores_before(live, 26)
    sold_at = now() - timedelta(hours=25)
    seller = live.api.signer.user(replace(live.tenant, store_id=stores[0]))
    payment_id = (await live.api.pay(seller)).body["id"]
    await live.wait_for_status(payment_id, "completed")
    moved = "UPDATE payments SET completed_at = %s, processing_at = %s WHERE id = %s"
    await live.sql(moved, sold_at, sold_at, payment_id)
    await asyncio.to_thread(live.nudge, "settlements.open_due")
    await eventually(
        lambda: periods(live, stores), until=lambda rows: len(rows) == len(stores), within=CATCH_UP_SECONDS
    )
    assert {row["status"] for row in await periods(live, stores)} == {"open"}  # nothing is closed meanwhile

    await live.stack.start("beat")

    rows = await wait_until_caught_up(live, stores)
    check_chains(rows, stores, since=now() - timedelta(hours=26))
    (line,) = await live.sql("SELECT * FROM settlement_lines WHERE entity_id = %s", payment_id)
    (home,) = [row for row in rows if row["id"] == line["settlement_id"]]
    assert home["start_at"] <= sold_at < home["end_at"]
    assert line["is_late"] is False

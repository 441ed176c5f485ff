"""Two beats, three beats, a dead beat, a beat away for 26 hours: one close per period, in order, and nothing twice (F24).

A day is made to pass by data: a store that was opened days ago has periods that have ended, and beat's own notes in the
broker say that it ran last when it did.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.chaos.beats import TAKEN_OVER_SECONDS, Beats, beats_beside
from tests.chaos.queues import broker_of, consumed
from tests.factories import Tenant
from tests.living import Living
from tests.waiting import eventually, until
from workflows.clock import now
from workflows.ids import new_id

UNSUPERVISED = True
"""A beat that is killed stays dead: it is another one that has to take over."""

STORES = 20
CATCH_UP_SECONDS = 60
GRACE_SECONDS = 10


@pytest.fixture
async def broker(town: Living) -> AsyncIterator[Redis]:
    """The broker, as somebody with its password sees it; the stack's own beat has the lock."""
    async with broker_of(town.stack) as client:
        await eventually(lambda: client.exists("mpac:beat::lock"), until=bool, within=TAKEN_OVER_SECONDS)
        yield client


@pytest.fixture
def beats(town: Living, broker: Redis, tmp_path: Path) -> Iterator[Beats]:
    """Further beats."""
    with beats_beside(town.stack, tmp_path / "beats") as further:
        yield further


async def opened_before(town: Living, hours: float, *, count: int = STORES) -> list[str]:
    """The ids of ``count`` new stores that were opened ``hours`` ago, each with a cut-off of its own and no period yet."""
    mine: Tenant = town.tenant
    at = now() - timedelta(hours=hours)
    ids = [new_id("store") for _ in range(count)]
    for number, store_id in enumerate(ids):
        await town.sql(
            """INSERT INTO stores (id, merchant_id, name, currency, time_zone, cut_off, created_at, updated_at)
               VALUES (%s, %s, 's', 'JPY', 'Asia/Tokyo', %s, %s, %s)""",
            *(store_id, mine.merchant_id, f"{number % 24:02}:{7 * number % 60:02}", at, at),
        )
    return ids


async def periods(town: Living, stores: list[str]) -> list[dict[str, Any]]:
    """Their settlements in order, with how often each was closed."""
    return await town.sql(
        """SELECT s.*, (SELECT count(*) FROM settlement_history h WHERE h.settlement_id = s.id AND h.event = 'close') AS closes
           FROM settlements s WHERE s.store_id = ANY(%s) ORDER BY s.store_id, s.start_at""",
        stores,
    )


async def caught_up(town: Living, stores: list[str]) -> list[dict[str, Any]]:
    """Their settlements, once each store's running period ends in the future."""
    count = "SELECT count(*) AS count FROM settlements WHERE store_id = ANY(%s) AND status = 'open' AND end_at > now()"
    await eventually(
        lambda: town.sql(count, stores), until=lambda rows: rows[0]["count"] == len(stores), within=CATCH_UP_SECONDS
    )
    return await periods(town, stores)


def judge_chains(rows: list[dict[str, Any]], stores: list[str], *, since: datetime) -> None:
    """One chain per store from ``since`` to now, each period closed once, one after the other in order."""
    assert {row["store_id"] for row in rows} == set(stores)
    for store_id in stores:
        *closed, running = [row for row in rows if row["store_id"] == store_id]
        assert closed[0]["start_at"] <= since < closed[0]["end_at"]
        assert [(row["status"], row["closes"]) for row in closed] == [("closed", 1)] * len(closed)
        assert (running["status"], running["closes"]) == ("open", 0)
        for before, after in pairwise([*closed, running]):
            assert before["end_at"] == after["start_at"]
            assert before["closed_at"] <= after["created_at"]  # the next was opened by this one's close
        for before, after in pairwise(closed):
            assert before["closed_at"] < after["closed_at"]


@pytest.mark.parametrize("number", [2, 3])
async def test_beats_that_all_tick_at_once_close_each_period_once(town: Living, beats: Beats, number: int) -> None:
    for each in range(1, number):
        beats.start(f"beat-{each + 1}", "unlocked")
    await beats.tick()
    since = now() - timedelta(hours=50)
    stores = await opened_before(town, 50)
    paying = asyncio.ensure_future(town.pay_many(100))
    for _ in range(number):  # at once, and the beats' own come on top
        await asyncio.to_thread(town.nudge, "settlements.open_due")
    rows = await caught_up(town, stores)
    judge_chains(rows, stores, since=since)
    assert len(rows) >= 3 * len(stores)
    ids = await paying
    assert await town.settled(ids) == {"completed": 100}
    assert await town.events(ids) == {"create": 100, "claim": 100, "complete": 100}
    assert [process.poll() for process in beats.processes.values()] == [None] * (number - 1)  # and they all still tick


async def days_pass(town: Living) -> None:
    """Stores that were opened yesterday catch up, by whoever sweeps now."""
    stores, since = await opened_before(town, 26, count=3), now() - timedelta(hours=26)
    await asyncio.to_thread(town.nudge, "settlements.open_due")
    judge_chains(await caught_up(town, stores), stores, since=since)


async def test_of_three_beats_one_has_the_lock_and_another_takes_it_when_that_one_stops(
    town: Living, beats: Beats
) -> None:
    for name in ("second", "third"):
        beats.start(name)
    await beats.are_up()
    await town.stack.stop("beat")  # it lets go of the lock as it ends
    await until(lambda: beats.has_taken_over("second") != beats.has_taken_over("third"), within=TAKEN_OVER_SECONDS)
    await days_pass(town)
    waiting = "third" if beats.has_taken_over("second") else "second"
    assert not beats.has_taken_over(waiting)
    beats.processes[waiting].terminate()
    assert await asyncio.to_thread(beats.processes[waiting].wait, GRACE_SECONDS) is not None


async def test_a_beat_that_is_killed_is_replaced_once_its_lock_has_run_out(town: Living, beats: Beats) -> None:
    beats.start("second")
    await beats.are_up()
    assert not beats.has_taken_over("second")
    town.stack.kill("beat", signal.SIGKILL)
    await beats.takes_over("second")
    await days_pass(town)


async def test_a_beat_that_stood_still_and_goes_on_finds_itself_replaced(town: Living, beats: Beats) -> None:
    second = beats.start("second")
    await beats.are_up()
    town.stack.kill("beat", signal.SIGSTOP)
    await beats.takes_over("second")
    await days_pass(town)
    town.stack.kill("beat", signal.SIGCONT)
    await until(lambda: "beat" not in town.stack.pids)  # it ends: its lock is another's
    assert second.poll() is None
    await days_pass(town)


async def test_a_beat_that_was_away_for_26_hours_catches_up_in_order(town: Living, broker: Redis) -> None:
    await town.stack.stop("beat")
    await consumed(broker, "sweeps")  # what it sent last
    stores = await opened_before(town, 26)
    sold_at = now() - timedelta(hours=25)
    seller = town.api.signer.user(replace(town.tenant, store_id=stores[0]))
    payment_id = (await town.api.pay(seller)).body["id"]
    await town.reaches(payment_id, "completed")
    moved = "UPDATE payments SET completed_at = %s, processing_at = %s WHERE id = %s"
    await town.sql(moved, sold_at, sold_at, payment_id)
    await asyncio.to_thread(town.nudge, "settlements.open_due")
    await eventually(
        lambda: periods(town, stores), until=lambda rows: len(rows) == len(stores), within=CATCH_UP_SECONDS
    )
    await ran_last(broker, now() - timedelta(hours=26))
    assert {row["status"] for row in await periods(town, stores)} == {"open"}  # nobody closes while it is away

    await town.stack.start("beat")

    rows = await caught_up(town, stores)
    judge_chains(rows, stores, since=now() - timedelta(hours=26))
    (line,) = await town.sql("SELECT * FROM settlement_lines WHERE entity_id = %s", payment_id)
    (home,) = [row for row in rows if row["id"] == line["settlement_id"]]
    assert home["start_at"] <= sold_at < home["end_at"]
    assert line["is_late"] is False


async def ran_last(broker: Redis, at: datetime) -> None:
    """Beat's notes say that each entry of its timetable ran last at ``at``."""
    keys = [key async for key in broker.scan_iter("mpac:beat:*") if await broker.type(key) == b"hash"]
    assert keys
    for key in keys:
        meta = json.loads(await broker.hget(key, "meta"))  # type: ignore[arg-type]
        meta["last_run_at"] = {"__type__": "datetime", **_parts(at)}
        await broker.hset(key, "meta", json.dumps(meta))
        await broker.zadd("mpac:beat::schedule", {key: at.timestamp()})


def _parts(at: datetime) -> dict[str, Any]:
    names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {**{name: getattr(at, name) for name in names}, "timezone": "UTC"}

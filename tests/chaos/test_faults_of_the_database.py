"""A database that goes away under load: 503 for the gap, never a wrong answer, and all that was promised is kept (F7)."""

import asyncio
import signal
from collections import Counter
from functools import partial

import pytest

from tests.living import TAKE_UP_SECONDS, Living
from tests.waiting import eventually

DURABLE = True


async def tills(town: Living, *, until: asyncio.Event, count: int = 8) -> tuple[list[str], Counter[int]]:
    """Terminals that pay until they are told to stop: what they were promised, and every status they saw."""
    promised: list[str] = []
    seen: Counter[int] = Counter()

    async def till() -> None:
        while not until.is_set():
            answer = await town.api.pay(town.staff, method={"type": "qr", "mode": "cpm"})
            seen[answer.status] += 1
            if answer.status == 201:
                promised.append(answer.body["id"])
            else:
                assert answer.status == 503, answer.raw
                assert int(answer.headers["Retry-After"]) > 0
                await asyncio.sleep(0.05)

    await asyncio.gather(*(till() for _ in range(count)))
    return promised, seen


async def restarted(town: Living) -> None:
    """PostgreSQL stops fast, as a restart of the service would have it, starts, and the API has noticed."""
    await town.stack.stop("postgres")
    await asyncio.sleep(0.5)
    await town.stack.start("postgres")
    # The first to use a connection of before the restart is answered 503, as the contract has it.
    look = partial(town.api.get, "/payments?limit=1", as_=town.staff)
    await eventually(look, until=lambda answer: answer.status == 200, within=TAKE_UP_SECONDS)


async def test_a_restart_under_load_is_503_for_the_gap_and_loses_nothing_that_was_promised(town: Living) -> None:
    done = asyncio.Event()
    paying = asyncio.ensure_future(tills(town, until=done))
    for _ in range(2):
        await asyncio.sleep(0.7)
        await restarted(town)
    await asyncio.sleep(1.0)
    done.set()
    promised, seen = await paying
    assert set(seen) <= {201, 503}
    assert len(promised) > 20
    assert await town.settled(promised, within=TAKE_UP_SECONDS) == {"completed": len(promised)}


async def test_a_crash_while_providers_are_asked_is_recorded_or_asked_about_afterwards(town: Living) -> None:
    ids = await town.pay_many(20, fate="slow:900")
    await eventually(lambda: town.statuses(ids), until=lambda seen: seen["processing"] == 20)
    town.stack.kill("postgres", signal.SIGQUIT)  # an immediate shutdown: recovery from the log at the next start
    await town.stack.wait_ready("postgres")
    assert await town.settled(ids, within=TAKE_UP_SECONDS) == {"completed": 20}


async def test_waits_survive_a_restart_of_the_database(town: Living) -> None:
    created = await town.api.pay(town.staff, method={"type": "qr", "mode": "mpm"})
    payment_id = created.body["id"]
    await eventually(lambda: town.row(payment_id), until=lambda row: row["next_action"] is not None)
    await restarted(town)
    version = (await town.row(payment_id))["version"]
    waiting = asyncio.ensure_future(
        town.api.get(f"/payments/{payment_id}?wait=20&since_version={version}", as_=town.staff)
    )
    assert (await town.sandbox("POST", f"/v1/codes/{payment_id}:1/pay")).status == 200
    answer = await waiting
    assert answer.status == 200, answer.raw
    await town.reaches(payment_id, "completed", within=30)


@pytest.mark.long
async def test_restarts_every_few_seconds_for_minutes_give_exact_results(town: Living) -> None:
    done = asyncio.Event()
    paying = asyncio.ensure_future(tills(town, until=done))
    for pause in (5, 7, 11, 5, 13, 8, 20, 5, 9, 15):
        await asyncio.sleep(pause)
        await restarted(town)
    done.set()
    promised, seen = await paying
    assert set(seen) <= {201, 503}
    assert await town.settled(promised, within=TAKE_UP_SECONDS * 2) == {"completed": len(promised)}

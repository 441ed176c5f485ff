"""Workers that die, stop and are told to stop: at most one charge, and taken up again within the lease (F1, F3, F10)."""

import asyncio
import random
import signal

import pytest

from tests.living import LEASE_SECONDS, TAKE_UP_SECONDS, Living
from tests.waiting import eventually

UNSUPERVISED = True
"""The dead stay dead: it is another worker that has to take over."""

SLOW = "slow:1400"  # charged at once, answered so late that there is time to hurt the worker in between
TAKEN_UP_SECONDS = LEASE_SECONDS + 30


async def charged(town: Living, payment_id: str) -> None:
    """Wait until the provider has the money and the worker does not know it yet."""
    await eventually(lambda: town.charges(payment_id), until=bool)
    assert (await town.row(payment_id))["status"] == "processing"


async def test_a_worker_killed_between_claim_and_record_loses_nothing_and_charges_once(town: Living) -> None:
    payment_id = await town.pay(fate=SLOW)
    await charged(town, payment_id)
    dead = await town.holder(payment_id)
    town.stack.kill(dead, signal.SIGKILL)
    await town.reaches(payment_id, "completed", within=TAKEN_UP_SECONDS)
    assert await town.charges(payment_id) == [1_000]
    assert "inquiry" in await town.messages(payment_id)
    assert dead not in town.workers()


async def test_a_worker_killed_before_the_provider_answers_that_it_did_nothing(town: Living) -> None:
    payment_id = await town.pay(fate="timeout_before_charge")
    await eventually(lambda: town.row(payment_id), until=lambda row: row["status"] == "processing")
    town.stack.kill(await town.holder(payment_id), signal.SIGKILL)
    await town.reaches(payment_id, "completed", within=TAKEN_UP_SECONDS)
    assert len(await town.charges(payment_id)) == 1


async def test_all_workers_killed_while_payments_arrive_leave_a_backlog_that_is_drained(town: Living) -> None:
    before = await town.pay_many(40)
    for name in town.workers():
        town.stack.kill(name, signal.SIGKILL)
    after = await town.pay_many(40)
    for name in ("worker-payments-1", "worker-payments-2"):
        await town.stack.start(name)
    assert await town.settled([*before, *after]) == {"completed": 80}


async def test_a_worker_stopped_beyond_its_lease_is_fenced_off_and_its_answer_kept(town: Living) -> None:
    payment_id = await town.pay(fate=SLOW)
    await charged(town, payment_id)
    stopped = await town.holder(payment_id)
    town.stack.kill(stopped, signal.SIGSTOP)
    row = await town.reaches(payment_id, "completed", within=TAKEN_UP_SECONDS)
    town.stack.kill(stopped, signal.SIGCONT)
    kinds = await eventually(lambda: town.messages(payment_id), until=lambda seen: "late_answer" in seen)
    assert kinds[0] == "inquiry"
    after = await town.row(payment_id)
    assert (after["version"], after["fence"]) == (row["version"], row["fence"])
    assert await town.charges(payment_id) == [1_000]


async def test_a_worker_that_is_told_to_stop_ends_its_calls_and_leaves_no_doubt(town: Living) -> None:
    ids = await town.pay_many(20, fate=SLOW)
    await eventually(lambda: town.statuses(ids), until=lambda seen: seen["processing"] == 20)
    await asyncio.gather(*(town.stack.stop(name) for name in town.workers()))
    assert await town.statuses(ids) == {"completed": 20}
    assert await town.events(ids) == {"create": 20, "claim": 20, "complete": 20}


async def test_an_api_killed_under_load_has_lost_nothing_it_promised(town: Living) -> None:
    promised: list[str] = []

    async def till() -> None:
        while True:
            promised.append(await town.pay())

    tills = [asyncio.ensure_future(till()) for _ in range(8)]
    await eventually(_count(promised), until=lambda count: count > 100)
    town.stack.kill("api", signal.SIGKILL)
    ended = await asyncio.gather(*tills, return_exceptions=True)
    assert all(isinstance(error, OSError | Exception) for error in ended)
    assert await town.settled(promised) == {"completed": len(promised)}


def _count(things: list[str]):  # type: ignore[no-untyped-def]  # a small closure
    async def count() -> int:
        return len(things)

    return count


@pytest.mark.long
async def test_workers_killed_at_random_for_a_minute_charge_once_each(town: Living) -> None:
    chance = random.Random(11)
    ids: list[str] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + 60
    while loop.time() < until:
        ids += await town.pay_many(30, fate=chance.choice([None, "slow:400", "timeout_after_charge"]))
        if town.workers():
            town.stack.kill(chance.choice(town.workers()), signal.SIGKILL)
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        await town.revive()
    await town.settled(ids, within=TAKE_UP_SECONDS * 2)
    for payment_id in ids:
        assert len(await town.charges(payment_id)) <= 1

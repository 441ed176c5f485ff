"""When a worker is killed, frozen or stopped, each payment is charged once and processed again after its lease.

These are F1, F2, F3 and F10.
"""

import asyncio
import random
import signal
from functools import partial

import aiohttp
import pytest

from tests.live_stack import LEASE_SECONDS, RECOVERY_SECONDS, TRIES, LiveStack
from tests.polling import GENEROUS_SECONDS, eventually

UNSUPERVISED = True
"""The supervisor does not restart dead workers: another worker has to take over."""

VARIABLES = {"MPAC_SILENCE_SECONDS": "9"}
"""This module does not need the setting. It makes the stack the same as that of `test_faults_of_beat`."""

SLOW = "slow:1400"  # charged at once and answered late: there is time to freeze the worker in between
BRIEF = "slow:800"  # long enough to stop the worker meanwhile, and far below the timeout of a call
LEASE_RECOVERY_SECONDS = LEASE_SECONDS + 30
WORKERS = ("worker-payments-1", "worker-payments-2")


async def freeze_worker_of(live: LiveStack, fate: str, *, charges: int) -> tuple[str, str]:
    """Freeze a worker while it processes a payment; return the payment's id and the worker's name.

    The provider has made ``charges`` charges for the payment by then. If the worker finishes before the test freezes it,
    another payment is tried.
    """
    for _ in range(TRIES):
        payment_id = await live.pay(fate=fate)
        await eventually(partial(live.row, payment_id), until=lambda row: row["status"] != "pending")
        await eventually(partial(live.charges, payment_id), until=lambda seen: len(seen) == charges)
        holder = await live.holder(payment_id)
        live.stack.kill(holder, signal.SIGSTOP)
        # No transaction has locked the row, so nothing is being recorded: the row will stay as it is.
        unheard = """SELECT FROM payments p JOIN payment_attempts a ON a.payment_id = p.id
                     WHERE p.id = %s AND p.status = 'processing' AND a.outcome IS NULL FOR UPDATE OF p SKIP LOCKED"""
        if await live.sql(unheard, payment_id):
            return payment_id, holder
        live.stack.kill(holder, signal.SIGCONT)
    raise AssertionError(f"a worker was done before it could be stopped, {TRIES} times")


async def test_a_payment_is_charged_once_when_its_worker_is_killed_between_claim_and_record(live: LiveStack) -> None:
    payment_id, dead = await freeze_worker_of(live, SLOW, charges=1)
    live.stack.kill(dead, signal.SIGKILL)
    await live.wait_for_status(payment_id, "completed", within=LEASE_RECOVERY_SECONDS)
    assert await live.charges(payment_id) == [1_000]
    assert "inquiry" in await live.messages(payment_id)
    assert dead not in live.workers()


async def test_a_payment_is_charged_once_when_its_worker_is_killed_before_the_provider_charges(live: LiveStack) -> None:
    payment_id, dead = await freeze_worker_of(live, "timeout_before_charge", charges=0)
    live.stack.kill(dead, signal.SIGKILL)
    await live.wait_for_status(payment_id, "completed", within=LEASE_RECOVERY_SECONDS)
    assert await live.charges(payment_id) == [1_000]
    assert "inquiry" in await live.messages(payment_id)


async def kill_all(live: LiveStack) -> None:
    """Kill all workers for payments."""
    for name in live.workers():
        live.stack.kill(name, signal.SIGKILL)
    assert live.workers() == []


async def test_payments_that_arrive_while_all_workers_are_dead_are_completed_after_a_restart(live: LiveStack) -> None:
    before = await live.submit_until_claimed(40, fate=SLOW)
    await kill_all(live)
    after = await live.pay_many(40)
    assert (await live.statuses(before))["completed"] < 40, "they were done before they were killed"
    assert await live.statuses(after) == {"pending": 40}
    for name in WORKERS:
        await live.stack.start(name)
    assert await live.final_statuses([*before, *after]) == {"completed": 80}


async def test_a_worker_frozen_beyond_its_lease_changes_nothing_and_its_late_answer_is_stored(live: LiveStack) -> None:
    payment_id, stopped = await freeze_worker_of(live, SLOW, charges=1)
    row = await live.wait_for_status(payment_id, "completed", within=LEASE_RECOVERY_SECONDS)
    live.stack.kill(stopped, signal.SIGCONT)
    kinds = await eventually(
        lambda: live.messages(payment_id), until=lambda seen: "late_answer" in seen, within=GENEROUS_SECONDS
    )
    assert kinds[0] == "inquiry"
    after = await live.row(payment_id)
    assert (after["version"], after["fence"]) == (row["version"], row["fence"])
    assert await live.charges(payment_id) == [1_000]


async def test_a_worker_that_is_stopped_finishes_its_calls_and_leaves_no_unknown_outcome(live: LiveStack) -> None:
    ids = await live.submit_until_claimed(20, fate=BRIEF)
    await asyncio.gather(*(live.stack.stop(name) for name in live.workers()))
    assert await live.statuses(ids) == {"completed": 20}
    assert await live.events(ids) == {"create": 20, "claim": 20, "complete": 20}


async def test_no_accepted_payment_is_lost_when_the_api_is_killed_under_load(live: LiveStack) -> None:
    promised: list[str] = []

    async def till() -> None:
        while True:
            promised.append(await live.pay())

    async def count() -> int:
        return len(promised)

    tills = [asyncio.ensure_future(till()) for _ in range(8)]
    await eventually(count, until=lambda count: count > 100, within=GENEROUS_SECONDS)
    live.stack.kill("api", signal.SIGKILL)
    ended = await asyncio.gather(*tills, return_exceptions=True)
    assert [
        error for error in ended if not isinstance(error, aiohttp.ClientError)
    ] == []  # no request got a wrong answer; some connections were cut
    assert await live.final_statuses(promised) == {"completed": len(promised)}


@pytest.mark.long
async def test_backlogs_are_drained_after_all_workers_were_dead_for_a_minute_five_times(live: LiveStack) -> None:
    ids: list[str] = []
    loop = asyncio.get_running_loop()
    for _ in range(5):
        held = await live.submit_until_claimed(50, fate=SLOW)
        await kill_all(live)
        until, waiting = loop.time() + 60, []
        while loop.time() < until:
            waiting += await live.pay_many(10)
            await asyncio.sleep(1)
        assert await live.statuses(waiting) == {"pending": len(waiting)}
        for name in WORKERS:
            await live.stack.start(name)
        ids += [*held, *waiting]
        assert await live.final_statuses(ids) == {"completed": len(ids)}


@pytest.mark.long
async def test_each_payment_is_charged_once_while_workers_are_killed_at_random_for_a_minute(live: LiveStack) -> None:
    chance = random.Random(11)
    ids: list[str] = []
    killed = 0
    loop = asyncio.get_running_loop()
    until = loop.time() + 60
    while loop.time() < until:
        ids += await live.pay_many(30, fate=chance.choice([None, "slow:400", "timeout_after_charge"]))
        live.stack.kill(chance.choice(live.workers()), signal.SIGKILL)
        killed += 1
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        await live.restore()
    assert await live.final_statuses(ids, within=RECOVERY_SECONDS * 2) == {"completed": len(ids)}
    assert (await live.events(ids))["doubt"] > 0
    assert killed > 5
    for payment_id in ids:
        assert await live.charges(payment_id) == [1_000]

"""When a worker is killed with SIGKILL at any point of a refund, exactly one refund is made (F1 for refunds).

The provider's ledger shows how often money was refunded, and the auditors compare it with our books. The tests fail unless
every point is reached. The long form repeats all points.
"""

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import Any

import pytest

from tests.chaos.crashing_worker import IN_DOUBT, POINTS, REFUND
from tests.chaos.kill_scenarios import CrashStack, Killed
from tests.chaos.queues import broker_of, wait_until_queued
from tests.factories import WHY

logger = logging.getLogger(__name__)
ROUNDS = 10
STACK = "crashing"


async def kill_with_refund(crashing: CrashStack, point: str) -> Killed:
    """Create a refund and kill its worker at ``point``.

    The result checks that the refund is made once and completed.
    """

    async def make_refund() -> dict[str, Any]:
        return await crashing.post(f"/payments/{await crashing.paid()}/refund", {"amount": 300, **WHY})

    refund = await crashing.crash_with(f"{REFUND}: {point}", make_refund)

    async def ends_well() -> None:
        done = await crashing.final(f"/refunds/{refund['id']}")
        assert (done["status"], done["outcome_known"]) == ("completed", True)
        assert await crashing.movements(refund["payment_id"]) == [("charge", 1_000), ("refund", 300)]
        assert await crashing.inquiries(REFUND, refund["id"]) or point not in IN_DOUBT
        payment = await crashing.final(f"/payments/{refund['payment_id']}")
        assert (payment["status"], payment["refunded_amount"]) == ("refunded", 300)

    return Killed(ends_well)


async def test_a_refund_is_made_once_if_its_worker_is_killed_at_any_point(crashing: CrashStack) -> None:
    seconds = await crashing.crash_at_each(POINTS, partial(kill_with_refund, crashing))
    assert len(seconds) == len(POINTS)
    logger.info("killed at %d points, final after %s s", len(POINTS), ", ".join(f"{each:.1f}" for each in seconds))
    await crashing.audit()


async def test_twenty_refunds_of_one_worker_are_made_once_each_when_it_is_killed(crashing: CrashStack) -> None:
    paid = await asyncio.gather(*(crashing.paid() for _ in range(20)))
    creators = [partial(crashing.post, f"/payments/{payment_id}/refund", WHY) for payment_id in paid]
    refunds = await crashing.crash_with_all(f"{REFUND}: the answer received", creators)
    ended = await asyncio.gather(*(crashing.final(f"/refunds/{refund['id']}") for refund in refunds))
    await crashing.restart_killed()
    assert Counter(refund["status"] for refund in ended) == {"completed": 20}
    for payment_id in paid:
        assert await crashing.movements(payment_id) == [("charge", 1_000), ("refund", 1_000)]
    asked = [bool(await crashing.inquiries(REFUND, refund["id"])) for refund in refunds]
    assert sum(asked) > 1, "it had no more than one in hand when it was killed"
    await crashing.audit()


async def test_refunds_whose_messages_were_lost_are_completed_by_the_sweep(crashing: CrashStack) -> None:
    """The broker loses all data while no worker consumes messages, and the sweep finds the refunds.

    This is F4 for refunds.
    """
    paid = await asyncio.gather(*(crashing.paid() for _ in range(20)))
    await crashing.kill_all()
    refunds = await asyncio.gather(
        *(crashing.post(f"/payments/{payment_id}/refund", {"amount": 300, **WHY}) for payment_id in paid)
    )
    async with broker_of(crashing.stack) as broker:
        await wait_until_queued(broker, "refunds", [refund["id"] for refund in refunds])
        await broker.flushall()
    await crashing.restart_killed()
    ended = await asyncio.gather(*(crashing.final(f"/refunds/{refund['id']}") for refund in refunds))
    assert Counter(refund["status"] for refund in ended) == {"completed": 20}
    for payment_id in paid:
        assert await crashing.movements(payment_id) == [("charge", 1_000), ("refund", 300)]
    await crashing.audit()


@pytest.mark.long
async def test_a_refund_is_made_once_if_its_worker_is_killed_at_any_point_ten_times_over(
    crashing: CrashStack,
) -> None:
    seconds = await crashing.crash_at_each(POINTS * ROUNDS, partial(kill_with_refund, crashing))
    logger.info("%d kills: one refund each, final after %.1f s at most", len(seconds), max(seconds))
    await crashing.audit()

"""F1 for refunds: a worker is killed with -9 at each point of a refund, and exactly one refund is made all the same.

The provider's own ledger says how often money went back; the invariants and the sums of all books say whether our side
tells the same. Every point is covered or the test fails; the long form does it again and again.
"""

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.chaos.dying_worker import POINTS, REFUND
from tests.chaos.refund_stage import BOUND_SECONDS, LOOK_EVERY_SECONDS, Stage, refund_stage

logger = logging.getLogger(__name__)
ROUNDS = 10
WHY = {"reason": "cold", "staff_code": "s-7"}


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One stack for all of them."""
    async with refund_stage(tmp_path_factory.mktemp("k")) as found:
        yield found


async def refund_under_kill(stage: Stage, point: str) -> float:
    """Have a refund whose worker dies at ``point``; seconds from the kill until the refund was final."""
    payment_id = await stage.paid()
    stage.last_words.write_text(f"{REFUND}: {point}")
    refund = await stage.post(f"/payments/{payment_id}/refund", {"amount": 300, **WHY})
    deadline = time.monotonic() + BOUND_SECONDS
    while not stage.fallen():
        assert time.monotonic() < deadline, f"nobody came to {point}"
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    killed_at = time.monotonic()
    again = [asyncio.create_task(stage.start_worker(name)) for name in stage.fallen()]
    done = await stage.final(f"/refunds/{refund['id']}")
    took = time.monotonic() - killed_at
    await asyncio.gather(*again)
    assert (done["status"], done["outcome_known"]) == ("completed", True)
    assert await stage.moved(payment_id) == [("charge", 1_000), ("refund", 300)]
    payment = await stage.final(f"/payments/{payment_id}")
    assert (payment["status"], payment["refunded_amount"]) == ("refunded", 300)
    return took


async def all_judges_agree(stage: Stage) -> None:
    await stage.close_the_day()
    ledger, invariants = await stage.judgement()
    assert ledger.broken == ()
    assert [rule for rule in invariants["rules"] if rule["count"]] == []


async def test_one_refund_wherever_its_worker_is_killed(stage: Stage) -> None:
    covered = [(point, await refund_under_kill(stage, point)) for point in POINTS]
    logger.info("killed at %d of %d points, final after %s s", len(covered), len(POINTS),
                ", ".join(f"{seconds:.1f}" for _, seconds in covered))  # fmt: skip
    await all_judges_agree(stage)


async def test_twenty_refunds_of_many_payments_survive_a_kill_in_their_middle(stage: Stage) -> None:
    paid = await asyncio.gather(*(stage.paid() for _ in range(20)))
    stage.last_words.write_text(f"{REFUND}: the answer received")
    refunds = await asyncio.gather(*(stage.post(f"/payments/{payment_id}/refund", WHY) for payment_id in paid))
    ended = await asyncio.gather(*(stage.final(f"/refunds/{refund['id']}") for refund in refunds))
    assert not stage.last_words.exists(), "nobody was killed"
    await asyncio.gather(*(stage.start_worker(name) for name in stage.fallen()))
    assert Counter(refund["status"] for refund in ended) == {"completed": 20}
    for payment_id in paid:
        assert await stage.moved(payment_id) == [("charge", 1_000), ("refund", 1_000)]
    await all_judges_agree(stage)


async def test_refunds_whose_messages_were_lost_are_all_taken_up(stage: Stage) -> None:
    """F4 for refunds: the broker forgets everything while nobody consumes; the rows are found by the sweep."""
    paid = await asyncio.gather(*(stage.paid() for _ in range(20)))
    for process in stage.workers.values():
        process.send_signal(signal.SIGSTOP)
    refunds = await asyncio.gather(
        *(stage.post(f"/payments/{payment_id}/refund", {"amount": 300, **WHY}) for payment_id in paid)
    )
    async with Redis.from_url(stage.stack.urls.broker) as broker:
        await broker.flushall()
    for process in stage.workers.values():
        process.send_signal(signal.SIGCONT)
    ended = await asyncio.gather(*(stage.final(f"/refunds/{refund['id']}") for refund in refunds))
    assert Counter(refund["status"] for refund in ended) == {"completed": 20}
    for payment_id in paid:
        assert await stage.moved(payment_id) == [("charge", 1_000), ("refund", 300)]
    await all_judges_agree(stage)


@pytest.mark.long
async def test_one_refund_wherever_its_worker_is_killed_again_and_again(stage: Stage) -> None:
    seconds = [await refund_under_kill(stage, point) for _ in range(ROUNDS) for point in POINTS]
    logger.info("%d of %d kills: one refund each, final after %.1f s at most", len(seconds), ROUNDS * len(POINTS),
                max(seconds))  # fmt: skip
    await all_judges_agree(stage)

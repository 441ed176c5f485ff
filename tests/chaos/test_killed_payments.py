"""F1 for payments: a worker is killed with -9 at each point of a payment, and exactly one charge is made all the same.

The provider's own ledger says how often money moved, and the other judges whether our side tells the same. Every point is
covered or the test fails; the long form does it again and again.
"""

import asyncio
import logging
import time
from collections import Counter

import pytest

from tests.chaos.crashing_worker import IN_DOUBT, PAYMENT, POINTS
from tests.chaos.kill_scenarios import CrashStack

logger = logging.getLogger(__name__)
ROUNDS = 10
STACK = "crashing"
QR = {"amount": 1_000, "method": {"type": "qr", "mode": "cpm"}}


async def payment_under_kill(crashing: CrashStack, point: str) -> float:
    """Have a payment whose worker dies at ``point``; seconds from the kill until the payment was final."""
    payment = await crashing.crash_with(f"{PAYMENT}: {point}", lambda: crashing.post("/payments", QR))
    killed_at = time.monotonic()
    again = asyncio.create_task(crashing.restart_killed())
    done = await crashing.final(f"/payments/{payment['id']}")
    took = time.monotonic() - killed_at
    await again
    assert (done["status"], done["outcome_known"], done["captured_amount"]) == ("completed", True, 1_000)
    assert await crashing.movements(payment["id"]) == [("charge", 1_000)]
    assert await crashing.inquiries(PAYMENT, payment["id"]) or point not in IN_DOUBT
    return took


async def test_one_charge_wherever_its_worker_is_killed(crashing: CrashStack) -> None:
    covered = [(point, await payment_under_kill(crashing, point)) for point in POINTS]
    logger.info("killed at %d of %d points, final after %s s", len(covered), len(POINTS),
                ", ".join(f"{seconds:.1f}" for _, seconds in covered))  # fmt: skip
    await crashing.audit()


async def test_twenty_payments_in_hand_survive_a_kill_in_their_middle(crashing: CrashStack) -> None:
    payments = await crashing.crash_with_all(
        f"{PAYMENT}: the answer received", [lambda: crashing.post("/payments", QR)] * 20
    )
    ended = await asyncio.gather(*(crashing.final(f"/payments/{payment['id']}") for payment in payments))
    await crashing.restart_killed()
    assert Counter(payment["status"] for payment in ended) == {"completed": 20}
    for payment in payments:
        assert await crashing.movements(payment["id"]) == [("charge", 1_000)]
    asked = [bool(await crashing.inquiries(PAYMENT, payment["id"])) for payment in payments]
    assert sum(asked) > 1, "it had no more than one in hand when it was killed"
    await crashing.audit()


@pytest.mark.long
async def test_one_charge_wherever_its_worker_is_killed_again_and_again(crashing: CrashStack) -> None:
    seconds = [await payment_under_kill(crashing, point) for _ in range(ROUNDS) for point in POINTS]
    logger.info("%d of %d kills: one charge each, final after %.1f s at most", len(seconds), ROUNDS * len(POINTS),
                max(seconds))  # fmt: skip
    await crashing.audit()

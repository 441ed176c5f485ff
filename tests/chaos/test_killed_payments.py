"""When a worker is killed with SIGKILL at any point of a payment, exactly one charge is made (F1 for payments).

The provider's ledger shows how often money moved, and the auditors compare it with our books. The tests fail unless every
point is reached. The long form repeats all points.
"""

import asyncio
import logging
from collections import Counter
from functools import partial

import pytest

from tests.chaos.crashing_worker import IN_DOUBT, PAYMENT, POINTS
from tests.chaos.kill_scenarios import CrashStack, Killed

logger = logging.getLogger(__name__)
ROUNDS = 10
STACK = "crashing"
QR = {"amount": 1_000, "method": {"type": "qr", "mode": "cpm"}}


async def kill_with_payment(crashing: CrashStack, point: str) -> Killed:
    """Create a payment and kill its worker at ``point``.

    The result checks that the payment is charged once and completed.
    """
    payment = await crashing.crash_with(f"{PAYMENT}: {point}", lambda: crashing.post("/payments", QR))

    async def ends_well() -> None:
        done = await crashing.final(f"/payments/{payment['id']}")
        assert (done["status"], done["outcome_known"], done["captured_amount"]) == ("completed", True, 1_000)
        assert await crashing.movements(payment["id"]) == [("charge", 1_000)]
        assert await crashing.inquiries(PAYMENT, payment["id"]) or point not in IN_DOUBT

    return Killed(ends_well)


async def test_a_payment_is_charged_once_if_its_worker_is_killed_at_any_point(crashing: CrashStack) -> None:
    seconds = await crashing.crash_at_each(POINTS, partial(kill_with_payment, crashing))
    assert len(seconds) == len(POINTS)
    logger.info("killed at %d points, final after %s s", len(POINTS), ", ".join(f"{each:.1f}" for each in seconds))
    await crashing.audit()


async def test_twenty_payments_of_one_worker_are_charged_once_each_when_it_is_killed(crashing: CrashStack) -> None:
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
async def test_a_payment_is_charged_once_if_its_worker_is_killed_at_any_point_ten_times_over(
    crashing: CrashStack,
) -> None:
    seconds = await crashing.crash_at_each(POINTS * ROUNDS, partial(kill_with_payment, crashing))
    logger.info("%d kills: one charge each, final after %.1f s at most", len(seconds), max(seconds))
    await crashing.audit()

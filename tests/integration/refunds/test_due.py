"""One column holds the time at which a refund is due for any reason, and a final refund is never due."""

from dataclasses import replace

import pytest

from tests.factories import CASH
from tests.fakes import FakeProvider
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, seconds_until_due, time_passes
from workflows.processing.due import find_due_refunds
from workflows.providers.base import Declined, Outcome, Unavailable, Unknown
from workflows.refunds.workload import REFUNDS
from workflows.settings import Settings

ALL = 100_000
GRACE_SECONDS, LEASE_SECONDS = 5, 30
LATER = Unavailable("503", retry_after_seconds=60)
SLOWER = 30.0
"""Settings with an inquiry delay of a minute, so that a refund is not due yet when a busy machine checks."""


async def why(refund_id: str) -> str | None:
    """Return the reason why the refund is due, or ``None`` if it is not."""
    return next((due.why for due in await find_due_refunds(limit=ALL) if due.id == refund_id), None)


async def test_a_new_refund_is_due_once_its_nudge_is_overdue_and_never_expires(
    refunds: RefundMaker, admin: Admin
) -> None:
    payment_id = await refunds.paid(CASH)
    refund_id = await refunds.pending(payment_id, 300, grace_seconds=GRACE_SECONDS)
    assert await why(refund_id) is None
    await time_passes(admin, refund_id, seconds=GRACE_SECONDS + 1)
    assert await why(refund_id) == "lost_nudge"
    await time_passes(admin, refund_id, seconds=86_400)
    await refunds.process(refund_id)
    assert await why(refund_id) is None


async def test_a_claimed_refund_is_due_when_its_lease_has_run_out(refunds: RefundMaker, admin: Admin) -> None:
    refund_id = await refunds.pending(await refunds.paid())
    await REFUNDS.claim([refund_id], worker="dies", lease_seconds=LEASE_SECONDS)
    assert await why(refund_id) is None
    await time_passes(admin, refund_id, seconds=LEASE_SECONDS + 1)
    assert await why(refund_id) == "run_out_lease"


@pytest.mark.parametrize(("answer", "reason"), [(LATER, "retry"), (Unknown("?"), "inquiry")])
async def test_a_refund_is_due_again_when_its_time_has_come(
    settings: Settings, refunds: RefundMaker, provider: FakeProvider, admin: Admin, answer: Outcome, reason: str
) -> None:
    payment_id = await refunds.paid()
    refunds.processor._settings = settings.model_copy(update={"doubt_schedule_scale": SLOWER})
    provider.refunds.append(answer)
    refund_id = await refunds.refunded(payment_id)
    assert await why(refund_id) is None
    await time_passes(admin, refund_id, seconds=await seconds_until_due(admin, refund_id) + 0.1)
    assert await why(refund_id) == reason


async def test_a_final_payment_is_never_due(refunds: RefundMaker, provider: FakeProvider, admin: Admin) -> None:
    done = await refunds.refunded(await refunds.paid())
    payment_id = await refunds.paid()
    provider.refunds.append(Declined("no"))
    failed = await refunds.refunded(payment_id)
    for refund_id in (done, failed):
        await time_passes(admin, refund_id, seconds=86_400)
        assert await why(refund_id) is None


async def test_the_longest_overdue_come_first_and_a_page_has_its_limit(refunds: RefundMaker, admin: Admin) -> None:
    made = [await refunds.pending(await refunds.paid(replace(CASH, amount=10))) for _ in range(4)]
    for number, refund_id in enumerate(made):
        await time_passes(admin, refund_id, seconds=1_000_000 + number)
    mine = [due.id for due in await find_due_refunds(limit=4)][:4]  # other providers have pages of their own
    assert mine == made[::-1]
    assert not {due.id for due in await find_due_refunds(limit=2)} & {*made[:2]}

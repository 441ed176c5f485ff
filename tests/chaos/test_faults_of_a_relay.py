"""A relay that answers in the provider's place never decides the outcome of a payment or refund."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uuid_utils

from mpac.stack.environment import CONTROL_KEY_VARIABLE
from tests.chaos.conftest import SharedStacks
from tests.chaos.meddler import Meddler, doubled, error_page, relay_before
from tests.integration.sandbox.harness import CONTROL_KEY, KEY, Sandbox
from tests.live_stack import WITHOUT_FLOWER, LiveStack, live_stack
from tests.polling import eventually

ENOUGH_SECONDS = 60.0
WHY = {"reason": "customer_request", "staff_code": "S1"}


STACK = "relayed"


@asynccontextmanager
async def relayed_stack(folder: Path) -> AsyncIterator[tuple[LiveStack, Meddler]]:
    """Start a stack that reaches its provider, a separate sandbox, through a relay; yield both."""
    sandbox = await Sandbox.start(folder.with_name(f"{folder.name}-sandbox"))
    async with relay_before(sandbox.url) as meddler:
        env = {"MPAC_SANDBOX_URL": meddler.url, "MPAC_SANDBOX_API_KEY": KEY, CONTROL_KEY_VARIABLE: CONTROL_KEY}
        async with live_stack(folder, services=WITHOUT_FLOWER, env=env) as running:
            yield running, meddler
    await sandbox.stop()


@pytest.fixture
async def relay(shared_stacks: SharedStacks) -> Meddler:
    """Return the relay in front of the provider."""
    return (await shared_stacks.get(STACK, relayed_stack))[1]


@pytest.fixture
async def shared_live_stack(shared_stacks: SharedStacks, relay: Meddler) -> LiveStack:
    """Return the stack behind the relay, and reset the relay."""
    relay.reset()
    return (await shared_stacks.get(STACK, relayed_stack))[0]


@pytest.fixture(autouse=True)
def reset_at_the_end(live: LiveStack, relay: Meddler) -> Iterator[None]:
    """Reset the relay after the test, before the auditors run."""
    yield
    relay.reset()


async def charge_counts(live: LiveStack, ids: list[str]) -> Counter[int]:
    """Count the payments by the number of their charges."""
    return Counter([len(await live.charges(payment_id)) for payment_id in ids])


@pytest.mark.parametrize("is_idle", [True, False], ids=["when it is idle", "in one piece"])
async def test_an_answer_that_arrives_twice_does_not_decide_the_next_payment(
    live: LiveStack, relay: Meddler, is_idle: bool
) -> None:
    if is_idle:
        relay.repeats_idle = True
    else:
        relay.meddle = doubled
    approved, declined = [], []
    for _ in range(10):  # sequentially, so that each request reuses the connection of the previous one
        approved.append(await live.pay())
        await live.final_statuses([approved[-1]], within=ENOUGH_SECONDS)
        declined.append(await live.pay(fate="decline:lost_card"))
        await live.final_statuses([declined[-1]], within=ENOUGH_SECONDS)
    assert relay.count >= 20
    assert await live.statuses(approved) == {"completed": 10}
    assert await live.statuses(declined) == {"failed": 10}
    assert (await charge_counts(live, approved), await charge_counts(live, declined)) == ({1: 10}, {0: 10})


@pytest.mark.parametrize("status", [503, 429, 403, 401, 404])
async def test_a_payment_is_charged_once_when_a_relay_answers_with_an_error_after_the_charge(
    live: LiveStack, relay: Meddler, status: int
) -> None:
    relay.meddle = error_page(status)
    ids = await live.pay_many(5)
    assert await live.final_statuses(ids, within=ENOUGH_SECONDS) == {"completed": 5}
    assert relay.count >= 5
    assert await charge_counts(live, ids) == {1: 5}


async def test_a_refund_is_made_once_when_a_relay_answers_with_an_error_after_the_refund(
    live: LiveStack, relay: Meddler
) -> None:
    payment_id = await live.pay()
    await live.wait_for_status(payment_id, "completed")
    relay.meddled, relay.meddle = "POST /v1/refunds ", error_page(503)
    key = uuid_utils.uuid7().hex
    asked = await live.api.post(f"/payments/{payment_id}/refund", {"amount": 400, **WHY}, as_=live.staff, key=key)
    assert asked.status == 201, asked.raw
    path = f"/refunds/{asked.body['id']}"
    await eventually(
        lambda: live.api.get(path, as_=live.staff),
        until=lambda answer: answer.body["status"] in ("completed", "failed"),
        within=ENOUGH_SECONDS,
    )

    assert relay.count >= 1
    assert (await live.api.get(path, as_=live.staff)).body["status"] == "completed"
    ledger = (await live.sandbox("GET", f"/control/ledger/{payment_id}")).body["data"]
    assert [(entry["kind"], entry["amount"]) for entry in ledger] == [("charge", 1_000), ("refund", 400)]

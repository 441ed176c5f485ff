"""Any sequence of steps with orders, bills, payments and refunds keeps every invariant, after each single step.

Hypothesis makes the sequences and shortens one that breaks a rule. The real use-cases run on the real database, each
sequence in a store of its own; the provider is a fake that also loses answers, and its book is the second judge.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from psycopg.rows import DictRow

from mpac.stack.local import LocalStack
from tests.factories import new_tenant
from tests.fakes import FakeProvider
from tests.integration.refunds.kit import RefundMaker
from tests.integration.sequences.judge import Judge, open_judge
from tests.integration.sequences.shop import ACTS, FATES, OFTEN, Shop, Step
from workflows.bills.states import BILL
from workflows.machine import StateMachine
from workflows.orders.states import ORDER
from workflows.payments.states import PAYMENT
from workflows.providers.registry import Providers
from workflows.refunds.states import REFUND
from workflows.settings import Settings

logger = logging.getLogger(__name__)

Admin = psycopg.AsyncConnection[DictRow]
LONGEST_STEP_SECONDS = 30
MACHINES: tuple[StateMachine, ...] = (PAYMENT, REFUND, ORDER, BILL)

STEPS = st.builds(
    Step,
    verb=st.sampled_from([*ACTS, *OFTEN]),
    which=st.integers(0, 5),
    much=st.integers(0, 60),
    fate=st.sampled_from(FATES),
)
SEQUENCES = st.lists(STEPS, min_size=6, max_size=20)
BEGINNING = (
    Step("order", 1, 3, "approve"),
    Step("bill", 0, 0, "approve"),
    Step("pay", 0, 12, "approve"),
    Step("work", 0, 0, "approve"),
)
"""Without an order, a bill and something paid on it, most of what can be drawn has nothing to be tried on."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Hundreds of thousands of lines of what went well would be kept until the end."""
    caplog.set_level(logging.WARNING, logger="workflows")


@pytest.fixture(scope="module")
async def judge(stack: LocalStack) -> AsyncIterator[Judge]:
    async with open_judge(stack.urls.database) as found:
        yield found


class Evenings:
    """Plays sequences and remembers what happened in all of them."""

    def __init__(self, settings: Settings, admin: Admin, judge: Judge) -> None:
        self.settings, self.admin, self.judge = settings, admin, judge
        self.sequences = self.steps = 0
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.stores: list[str] = []

    async def play(self, steps: list[Step]) -> None:
        """One sequence in a new store, judged after each step, then taken to its end and judged by the provider's book."""
        provider = FakeProvider()
        maker = RefundMaker(self.settings, Providers({provider.name: provider}), await new_tenant(self.admin))
        shop = Shop(maker, provider, self.admin)
        self.sequences += 1
        self.stores.append(maker.tenant.store_id)
        for step in (*BEGINNING, *steps):
            await shop.take(step)
            self.steps += 1
            assert await self.judge.judge(maker.tenant.store_id) == [], step
        assert await shop.to_the_end() == {"payments": [], "refunds": []}
        assert await self.judge.judge(maker.tenant.store_id) == []
        assert await self._differs_from(provider, maker.tenant.store_id) == []
        self.done += shop.done
        self.refused += shop.refused

    async def _differs_from(self, provider: FakeProvider, store_id: str) -> list[dict[str, Any]]:
        """Payments and refunds at the provider of which it moved anything else than what we say (I1, I2, I3)."""
        rows = await self.admin.execute(
            """SELECT id, CASE WHEN status IN ('completed', 'refunded') THEN captured_amount ELSE 0 END AS says
               FROM payments WHERE store_id = %(store)s AND provider = 'sandbox'
               UNION ALL SELECT id, CASE status WHEN 'completed' THEN amount ELSE 0 END
               FROM refunds WHERE store_id = %(store)s AND provider = 'sandbox'""",
            {"store": store_id},
        )
        moved: dict[str, list[int]] = {}
        for reference, amount in provider.moved.items():
            moved.setdefault(reference.partition(":")[0], []).append(amount)
        said = await rows.fetchall()
        strangers = [{"id": row_id} for row_id in moved.keys() - {row["id"] for row in said}]
        return strangers + [row for row in said if moved.get(row["id"], []) != ([row["says"]] if row["says"] else [])]

    async def edges_never_taken(self) -> list[str]:
        """Edges of the four tables that no sequence took."""
        missing = []
        for machine in MACHINES:
            query = f"""SELECT DISTINCT from_status, to_status FROM {machine.name}_history
                        WHERE store_id = ANY(%s) AND from_status <> to_status"""
            rows = await (await self.admin.execute(query.encode(), [self.stores])).fetchall()
            taken = {(row["from_status"], row["to_status"]) for row in rows}
            missing += [f"{machine.name}: {' → '.join(edge)}" for edge in machine.edges() if edge not in taken]
        return missing


async def run(evenings: Evenings, sequences: int) -> None:
    """Have hypothesis draw ``sequences`` of them in a thread of its own, and play each here, where the database is."""
    loop = asyncio.get_running_loop()

    @how(max_examples=sequences, suppress_health_check=list(HealthCheck), print_blob=False)
    @given(SEQUENCES)
    def each(steps: list[Step]) -> None:
        asyncio.run_coroutine_threadsafe(evenings.play(steps), loop).result(LONGEST_STEP_SECONDS)

    await asyncio.to_thread(each)


def tell(evenings: Evenings, seconds: float) -> None:
    """What happened, for whoever runs it with ``--log-cli-level=INFO``."""
    refused = sum(evenings.refused.values())
    logger.info(
        "%d sequences, %d steps judged, %d refused, %.0f s", evenings.sequences, evenings.steps, refused, seconds
    )
    logger.info("done: %s", dict(evenings.done))
    logger.info("refused: %s", dict(evenings.refused))


async def test_a_few_hundred_steps_keep_every_invariant(
    settings: Settings, engines: None, admin: Admin, judge: Judge
) -> None:
    evenings = Evenings(settings, admin, judge)
    await run(evenings, 30)
    assert evenings.steps >= 200
    assert sum(evenings.done.values()) >= evenings.steps / 4


@pytest.mark.long
async def test_ten_thousand_sequences_keep_every_invariant(
    settings: Settings, engines: None, admin: Admin, judge: Judge
) -> None:
    evenings = Evenings(settings, admin, judge)
    began = time.monotonic()
    await run(evenings, 10_000)
    tell(evenings, time.monotonic() - began)
    assert await evenings.edges_never_taken() == []


async def test_the_judge_sees_what_it_is_there_for(
    settings: Settings, engines: None, admin: Admin, judge: Judge
) -> None:
    """Break one thing behind the product's back: a judge that had nothing to say then would prove nothing."""
    provider = FakeProvider()
    maker = RefundMaker(settings, Providers({provider.name: provider}), await new_tenant(admin))
    shop = Shop(maker, provider, admin)
    for step in BEGINNING:
        await shop.take(step)
    assert await judge.judge(maker.tenant.store_id) == []
    parameters = {"store": maker.tenant.store_id}
    await admin.execute("UPDATE bills SET version = version + 1 WHERE store_id = %(store)s", parameters)
    await admin.execute("UPDATE payments SET refund_reserved = 1 WHERE store_id = %(store)s", parameters)
    found = await judge.judge(maker.tenant.store_id)
    assert {name for name, *_ in found} >= {"I5 counted versions of a bill", "I4 refund sums"}

"""Any sequence of steps with orders, bills, payments and refunds keeps every invariant, after each single step.

Hypothesis makes the sequences and shortens one that breaks a rule. The real use-cases run on the real database, each
sequence in a store of its own; the provider is a fake that also loses answers, and its book is the second judge.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from hypothesis import strategies as st
from psycopg.rows import DictRow
from sqlalchemy import text

from mpac.stack.local import LocalStack
from tests.factories import new_tenant
from tests.fakes import FakeProvider
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.integration.sequences.judge import Judge, open_judge
from tests.integration.sequences.shop import ACTS, FATES, HIGHEST, OFTEN, Shop, Step
from tests.integration.sequences.stories import BEGINNING, TOUR
from workflows.bills.balance import share_of_refund
from workflows.bills.states import BILL
from workflows.orders.states import ORDER
from workflows.payments.states import PAYMENT
from workflows.providers.registry import Providers
from workflows.refunds.states import REFUND
from workflows.settings import Settings
from workflows.state_machine import StateMachine

logger = logging.getLogger(__name__)

Admin = psycopg.AsyncConnection[DictRow]
LONGEST_STEP_SECONDS = 30
SEQUENCES_IN_SHORT, SEQUENCES_IN_FULL = 60, 10_000
BYTES_PER_STEP = 5
MACHINES: tuple[StateMachine, ...] = (PAYMENT, REFUND, ORDER, BILL)

VERBS = (*ACTS, *OFTEN)


def played(raw: bytes) -> list[Step]:
    """The steps that these bytes stand for, five each."""
    return [
        Step(VERBS[verb % len(VERBS)], which % (HIGHEST + 1), much, way, FATES[fate % len(FATES)])
        for verb, which, much, way, fate in zip(*[iter(raw)] * BYTES_PER_STEP, strict=False)
    ]


SEQUENCES = st.binary(min_size=8 * BYTES_PER_STEP, max_size=24 * BYTES_PER_STEP).map(played)
"""Bytes, not lists of steps: of those hypothesis makes six variants of each in which parts repeat, and tries little else."""


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

    async def play(self, steps: Sequence[Step]) -> None:
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
        self.done += shop.done
        self.refused += shop.refused
        assert await shop.to_the_end() == {"payments": [], "refunds": []}
        assert await self.judge.judge(maker.tenant.store_id) == []
        assert await self._differs_from(provider, maker.tenant.store_id) == []

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


async def run(evenings: Evenings, sequences: int, *, phases: Sequence[Phase] = tuple(Phase)) -> None:
    """Have hypothesis draw ``sequences`` of them in a thread of its own, and play each here, where the database is."""
    loop = asyncio.get_running_loop()

    @how(
        max_examples=sequences,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
        phases=phases,
    )
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


async def test_a_sequence_told_by_hand_takes_every_edge(
    settings: Settings, engines: None, admin: Admin, judge: Judge
) -> None:
    evenings = Evenings(settings, admin, judge)
    await evenings.play(TOUR)
    assert evenings.refused == Counter()
    assert await evenings.edges_never_taken() == []


async def test_sixty_sequences_keep_every_invariant(
    settings: Settings, engines: None, admin: Admin, judge: Judge
) -> None:
    evenings = Evenings(settings, admin, judge)
    began = time.monotonic()
    await run(evenings, SEQUENCES_IN_SHORT)
    tell(evenings, time.monotonic() - began)
    assert evenings.sequences >= SEQUENCES_IN_SHORT
    logger.info("never: %s", await evenings.edges_never_taken())
    assert len(evenings.done) >= len(ACTS) - 2
    assert sum(evenings.done.values()) >= evenings.steps / 3


@pytest.mark.long
async def test_ten_thousand_sequences_keep_every_invariant(
    settings: Settings, engines: None, admin: Admin, judge: Judge
) -> None:
    evenings = Evenings(settings, admin, judge)
    began = time.monotonic()
    await run(evenings, SEQUENCES_IN_FULL)
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


@dataclass(frozen=True, slots=True)
class Fault:
    """A line of the product that is wrong: what stands where, and which rule must find it."""

    module: str
    name: str
    wrong: Any
    rule: str


async def forgets(*_: Any, **__: Any) -> None:
    """Does nothing of what it should."""


FAULTS = {
    "a refund lowers its bill by less": Fault(
        "workflows.refunds.record", "share_of_refund", lambda **of: share_of_refund(**of) // 2, "I12 bill sums"
    ),
    "the tip is given back first": Fault(
        "workflows.refunds.record", "share_of_refund", lambda *, refund, **_: max(refund - 150, 0), "I12 bill sums"
    ),
    "a payment that failed keeps its reservation": Fault(
        "workflows.payments.update_bills", "release_reservations", forgets, "I12 bill sums"
    ),
    "a payment that is being given back counts for its bill": Fault(
        "workflows.payments.update_bills", "_OFF_BILL", text("SELECT CAST(:ids AS text[])"), "I12 bill sums"
    ),
    "a refund reserves nothing": Fault(
        "workflows.refunds.request", "_RESERVE", text("SELECT :id, :amount"), "I4 refund sums"
    ),
    "a refund begins without history": Fault(
        "workflows.refunds.request", "append_history", forgets, "I5 counted versions of a refund"
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_wrong_line_of_the_product_is_found(
    settings: Settings, engines: None, admin: Admin, judge: Judge, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Sequences that find no fault that is there would prove nothing by finding none."""
    monkeypatch.setattr(f"{fault.module}.{fault.name}", fault.wrong)
    with pytest.raises(AssertionError, match=fault.rule):
        await run(Evenings(settings, admin, judge), SEQUENCES_IN_SHORT, phases=(Phase.generate,))

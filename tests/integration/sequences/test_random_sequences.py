"""Random sequences of steps with orders, bills, payments and refunds keep every invariant after each step.

Hypothesis generates the sequences and shortens one that breaks a rule. The real use-cases run on the real database, each
sequence in its own store. The provider is a fake that also loses answers; its ledger is compared at the end.
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

from mpac.stack.local_stack import LocalStack
from tests.factories import new_tenant
from tests.fakes import FakeProvider
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.integration.sequences.handwritten import BEGINNING, TOUR
from tests.integration.sequences.shop import ACTS, FATES, HIGHEST, OFTEN, Shop, Step
from tests.integration.sequences.store_audit import STATEMENTS, StoreAudit, open_audit
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
SEQUENCES_TO_FIND = 10 * SEQUENCES_IN_SHORT  # the rarest fault needs a cancel that comes too late: 60 missed it once
BYTES_PER_STEP = 5
MACHINES: tuple[StateMachine, ...] = (PAYMENT, REFUND, ORDER, BILL)

VERBS = (*ACTS, *OFTEN)


def played(raw: bytes) -> list[Step]:
    """Decode bytes to steps, five bytes each."""
    return [
        Step(VERBS[verb % len(VERBS)], which % (HIGHEST + 1), much, way, FATES[fate % len(FATES)])
        for verb, which, much, way, fate in zip(*[iter(raw)] * BYTES_PER_STEP, strict=False)
    ]


SEQUENCES = st.binary(min_size=8 * BYTES_PER_STEP, max_size=24 * BYTES_PER_STEP).map(played)
"""Drawn as bytes, because for lists hypothesis mostly tries variants in which parts repeat."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Do not capture hundreds of thousands of INFO records."""
    caplog.set_level(logging.WARNING, logger="workflows")


@pytest.fixture(scope="module")
async def audit(stack: LocalStack) -> AsyncIterator[StoreAudit]:
    async with open_audit(stack.urls.database) as found:
        yield found


class SequencePlayer:
    """Play sequences, and count what happened in all of them."""

    def __init__(self, settings: Settings, admin: Admin, audit: StoreAudit) -> None:
        self.settings, self.admin, self.audit = settings, admin, audit
        self.sequences = self.steps = 0
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.stores: list[str] = []

    async def play(self, steps: Sequence[Step]) -> None:
        """Play a sequence in a new store, and audit after each step.

        In the end, finish all payments and compare the store with the provider.
        """
        provider = FakeProvider()
        maker = RefundMaker(self.settings, Providers({provider.name: provider}), await new_tenant(self.admin))
        shop = Shop(maker, provider, self.admin)
        self.sequences += 1
        self.stores.append(maker.tenant.store_id)
        for step in (*BEGINNING, *steps):
            await shop.take(step)
            self.steps += 1
            assert await self.audit.violations(maker.tenant.store_id) == [], step
        self.done += shop.done
        self.refused += shop.refused
        assert await shop.to_the_end() == {"payments": [], "refunds": []}
        assert await self.audit.violations(maker.tenant.store_id) == []
        assert await self._differs_from(provider, maker.tenant.store_id) == []

    async def _differs_from(self, provider: FakeProvider, store_id: str) -> list[dict[str, Any]]:
        """Return the payments and refunds for which the provider moved another amount than their rows say.

        This checks I1, I2 and I3.
        """
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
        unknown = [{"id": row_id} for row_id in moved.keys() - {row["id"] for row in said}]
        return unknown + [row for row in said if moved.get(row["id"], []) != ([row["says"]] if row["says"] else [])]

    async def edges_never_taken(self) -> list[str]:
        """Return the transitions of the four tables that no sequence took."""
        missing = []
        for machine in MACHINES:
            query = f"""SELECT DISTINCT from_status, to_status
                        FROM {machine.name}_history JOIN {machine.name}s e ON e.id = {machine.name}_id
                        WHERE e.store_id = ANY(%s) AND from_status <> to_status"""
            rows = await (await self.admin.execute(query.encode(), [self.stores])).fetchall()
            taken = {(row["from_status"], row["to_status"]) for row in rows}
            missing += [f"{machine.name}: {' → '.join(edge)}" for edge in machine.edges() if edge not in taken]
        return missing


async def run(player: SequencePlayer, sequences: int, *, phases: Sequence[Phase] = tuple(Phase)) -> None:
    """Let hypothesis generate ``sequences`` in its own thread, and play each in this event loop."""
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
        asyncio.run_coroutine_threadsafe(player.play(steps), loop).result(LONGEST_STEP_SECONDS)

    await asyncio.to_thread(each)


def log_counts(player: SequencePlayer, seconds: float) -> None:
    """Log the counts, which are shown with ``--log-cli-level=INFO``."""
    refused = sum(player.refused.values())
    logger.info("%d sequences, %d steps audited, %d refused, %.0f s", player.sequences, player.steps, refused, seconds)
    logger.info("done: %s", dict(player.done))
    logger.info("refused: %s", dict(player.refused))


async def test_handwritten_sequence_takes_every_edge_of_the_four_tables(
    settings: Settings, engines: None, admin: Admin, audit: StoreAudit
) -> None:
    player = SequencePlayer(settings, admin, audit)
    await player.play(TOUR)
    assert player.refused == Counter()
    assert await player.edges_never_taken() == []


async def test_sixty_random_sequences_keep_every_invariant(
    settings: Settings, engines: None, admin: Admin, audit: StoreAudit
) -> None:
    player = SequencePlayer(settings, admin, audit)
    began = time.monotonic()
    await run(player, SEQUENCES_IN_SHORT)
    log_counts(player, time.monotonic() - began)
    assert player.sequences >= SEQUENCES_IN_SHORT
    logger.info("never: %s", await player.edges_never_taken())
    assert len(player.done) >= len(ACTS) - 2
    assert sum(player.done.values()) >= player.steps / 3


@pytest.mark.long
async def test_ten_thousand_random_sequences_keep_every_invariant(
    settings: Settings, engines: None, admin: Admin, audit: StoreAudit
) -> None:
    player = SequencePlayer(settings, admin, audit)
    began = time.monotonic()
    await run(player, SEQUENCES_IN_FULL)
    log_counts(player, time.monotonic() - began)
    assert await player.edges_never_taken() == []


async def test_audit_finds_a_wrong_version_and_a_wrong_refund_reservation(
    settings: Settings, engines: None, admin: Admin, audit: StoreAudit
) -> None:
    """Change rows by raw SQL, because an audit that does not find these changes would prove nothing."""
    provider = FakeProvider()
    maker = RefundMaker(settings, Providers({provider.name: provider}), await new_tenant(admin))
    shop = Shop(maker, provider, admin)
    for step in BEGINNING:
        await shop.take(step)
    assert await audit.violations(maker.tenant.store_id) == []
    parameters = {"store": maker.tenant.store_id}
    await admin.execute("UPDATE bills SET version = version + 1 WHERE store_id = %(store)s", parameters)
    await admin.execute("UPDATE payments SET refund_reserved = 1 WHERE store_id = %(store)s", parameters)
    found = await audit.violations(maker.tenant.store_id)
    assert {name for name, *_ in found} >= {"I5 counted versions of a bill", "I4 refund sums"}


BREAKS = {
    "parts do not sum to the whole": "UPDATE bills SET parent_bill_id = id",
    "something is billed twice": "UPDATE orders SET subtotal = subtotal - 1, total_amount = total_amount - 1",
    "an order is open although all of it is paid": """
        UPDATE bills SET status = 'paid', paid_amount = total_amount, paid_at = now()""",
    "an order is paid although not all of it is": "UPDATE orders SET status = 'paid', paid_at = now()",
    "the version is not the number of history rows": "UPDATE orders SET version = version + 1",
}
"""Entry of ``STATEMENTS`` → an UPDATE that breaks it in a store with a half-paid bill. A CHECK covers the missing entry."""


@pytest.mark.parametrize("statement", BREAKS)
async def test_audit_finds_rows_that_break_each_statement(
    settings: Settings, engines: None, admin: Admin, audit: StoreAudit, statement: str
) -> None:
    provider = FakeProvider()
    maker = RefundMaker(settings, Providers({provider.name: provider}), await new_tenant(admin))
    shop = Shop(maker, provider, admin)
    for step in BEGINNING:
        await shop.take(step)
    await admin.execute("SET session_replication_role = replica")  # disables triggers, which would refuse the change
    await admin.execute(f"{BREAKS[statement]} WHERE store_id = %s".encode(), [maker.tenant.store_id])
    await admin.execute("RESET session_replication_role")
    assert statement in STATEMENTS
    found = await audit.violations(maker.tenant.store_id)
    assert statement in {problem for rule, _, problem in found if rule == "statement"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to inject: the name to replace in a module, the wrong replacement, and the rule that must find it."""

    module: str
    name: str
    wrong: Any
    rule: str


async def does_nothing(*_: Any, **__: Any) -> None:
    """Do nothing, in place of the replaced function."""


FAULTS = {
    "a refund lowers its bill by less": Fault(
        "workflows.refunds.record", "share_of_refund", lambda **of: share_of_refund(**of) // 2, "I12 bill sums"
    ),
    "the tip is refunded first": Fault(
        "workflows.refunds.record", "share_of_refund", lambda *, refund, **_: max(refund - 150, 0), "I12 bill sums"
    ),
    "a payment that failed keeps its reservation": Fault(
        "workflows.payments.update_bills", "release_reservations", does_nothing, "I12 bill sums"
    ),
    "a payment that is being refunded counts for its bill": Fault(
        "workflows.payments.update_bills", "_OFF_BILL", text("SELECT CAST(:ids AS text[])"), "I12 bill sums"
    ),
    "a refund reserves nothing": Fault(
        "workflows.refunds.request", "_RESERVE", text("SELECT :id, :amount"), "I4 refund sums"
    ),
    "a refund begins without history": Fault(
        "workflows.refunds.request", "append_history", does_nothing, "I5 counted versions of a refund"
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_sequences_find_a_planted_fault_of_the_product(
    settings: Settings, engines: None, admin: Admin, audit: StoreAudit, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """If sequences did not find an injected fault, a run without findings would prove nothing."""
    monkeypatch.setattr(f"{fault.module}.{fault.name}", fault.wrong)
    with pytest.raises(AssertionError, match=fault.rule):
        await run(SequencePlayer(settings, admin, audit), SEQUENCES_TO_FIND, phases=(Phase.generate,))

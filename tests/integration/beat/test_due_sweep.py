"""One message per second sweeps payments, refunds and settlements; a kind that cannot be swept does not hold up the others."""

import importlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from mpac.stack.local_stack import LocalStack
from workers.nudge import PAYMENTS, REFUNDS, SETTLEMENTS
from workflows.errors import ServiceUnavailable
from workflows.processing.due import DueRow

DUE_AT = datetime(2026, 1, 28, tzinfo=UTC)


class Swept:
    """The sweeps, what they find, and what they publish."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.found: dict[str, list[DueRow] | Exception] = {PAYMENTS: [], REFUNDS: [], SETTLEMENTS: []}
        self.published: dict[str, list[str]] = {}
        self.threads: set[str] = set()

    def finding(self, task: str) -> Any:
        async def find(**_: Any) -> list[DueRow]:
            rows = self.found[task]
            if isinstance(rows, Exception):
                raise rows
            return rows

        return find

    def publish(self, task: str, ids: list[str]) -> None:
        self.threads.add(threading.current_thread().name)
        self.published.setdefault(task, []).extend(ids)


@pytest.fixture
def swept(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Swept]:
    module = importlib.import_module("beat.sweeps")
    made = Swept(module)
    for name, task in (("payments", PAYMENTS), ("refunds", REFUNDS), ("settlements", SETTLEMENTS)):
        monkeypatch.setattr(module, f"find_due_{name}", made.finding(task))
    monkeypatch.setattr(module, "publish", made.publish)
    monkeypatch.setattr(module, "run", lambda work: work.close())
    yield made
    module._nudged.clear()


def row(row_id: str, why: str = "retry") -> DueRow:
    return DueRow(row_id, DUE_AT, why)


async def test_one_sweep_nudges_payments_refunds_and_settlements(swept: Swept) -> None:
    swept.found = {PAYMENTS: [row("pay_1")], REFUNDS: [row("ref_1")], SETTLEMENTS: [row("set_1", "period_ended")]}
    summary = await swept.module.due.run()
    assert swept.published == {PAYMENTS: ["pay_1"], REFUNDS: ["ref_1"], SETTLEMENTS: ["set_1"]}
    assert repr(summary) == "nudged 1 retry; nudged 1 retry; nudged 1 period_ended"
    assert threading.current_thread().name not in swept.threads  # publishing may wait for the broker


async def test_a_sweep_that_finds_nothing_is_not_shown(swept: Swept) -> None:
    assert await swept.module.due.run() is None
    assert swept.published == {}


@pytest.mark.parametrize("broken", [PAYMENTS, REFUNDS, SETTLEMENTS])
async def test_rows_that_cannot_be_found_do_not_hold_up_the_others(swept: Swept, broken: str) -> None:
    swept.found = {PAYMENTS: [row("pay_1")], REFUNDS: [row("ref_1")], SETTLEMENTS: [row("set_1", "period_ended")]}
    swept.found[broken] = ServiceUnavailable(retry_after_seconds=1)
    with pytest.raises(ServiceUnavailable):
        await swept.module.due.run()
    assert set(swept.published) == {PAYMENTS, REFUNDS, SETTLEMENTS} - {broken}


async def test_the_first_message_of_a_beat_of_the_previous_release_sweeps_everything(swept: Swept) -> None:
    swept.found[REFUNDS] = [row("ref_1")]
    await swept.module.payments.run()
    assert swept.published == {REFUNDS: ["ref_1"]}
    assert swept.module.refunds.run() is None
    assert swept.module.settlements.run() is None

"""Test how long the executor waits for a batch, and what it logs if a queue cannot be advanced."""

import asyncio
import logging
from typing import Any

import pytest

from tests.fakes import FakeProvider
from workflows.errors import ServiceUnavailable
from workflows.processing import executor
from workflows.processing.executor import POISON_CANDIDATES, LeaseExecutor, StartedRow
from workflows.processing.leases import UnclaimedRow
from workflows.providers.base import Charge
from workflows.providers.registry import Providers
from workflows.refunds.workload import PAYMENTS
from workflows.settings import Settings

SETTINGS = Settings.model_validate(
    {
        "database_url": "postgresql://nobody@127.0.0.1:1/none",
        "broker_url": "redis://127.0.0.1:1/0",
        "secret_key": "of a test",
    }
)
IDS = ["pay_01a22b30b3a8727199456ba974521efb", "pay_01a22b30b4b277e9bd3d6aa5a71c746b"]


@pytest.fixture
async def payments() -> LeaseExecutor[Charge]:
    """Return an executor of payments with one remote provider, named ``sandbox``."""
    return LeaseExecutor(PAYMENTS, settings=SETTINGS, providers=Providers({"sandbox": FakeProvider()}), worker="a")


async def test_batch_of_hanging_local_and_remote_rows_waits_once(
    payments: LeaseExecutor[Charge], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    wait = asyncio.wait

    async def measured_wait(tasks: Any, *, timeout: float) -> Any:
        waited.append(timeout)
        return await wait(tasks, timeout=timeout)

    async def advance(_ids: list[str]) -> tuple[list[StartedRow], frozenset[str]]:
        return [StartedRow(name, payments._start(asyncio.sleep(60))) for name in (None, "sandbox")], frozenset()

    monkeypatch.setattr(executor, "BATCH_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(payments, "_advance", advance)
    monkeypatch.setattr(asyncio, "wait", measured_wait)
    tasks = await payments._run_batch(IDS)
    assert len(tasks) == 2
    assert 0.1 < waited[0] <= 0.2, "the local row is waited for until the deadline of the batch"
    assert waited[1] < 0.05, "nothing is left of the deadline for the remote row"
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize(
    ("error", "level", "has_traceback"),
    [(ServiceUnavailable(retry_after_seconds=1), logging.WARNING, False), (RuntimeError("a bug"), logging.ERROR, True)],
    ids=["database unavailable", "bug"],
)
async def test_queue_that_cannot_be_advanced_is_logged_with_its_name(
    payments: LeaseExecutor[Charge],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    level: int,
    has_traceback: bool,
) -> None:
    async def advance(_ids: list[str]) -> tuple[list[StartedRow], frozenset[str]]:
        raise error

    async def unclaimed_rows(ids: list[str], **_: Any) -> list[UnclaimedRow]:
        return [UnclaimedRow(row_id, "sandbox", is_poison_candidate=True) for row_id in ids]

    monkeypatch.setattr(payments, "_advance", advance)
    monkeypatch.setattr(PAYMENTS, "unclaimed_rows", unclaimed_rows)
    (queue,) = await payments._enqueue(IDS, frozenset())
    await queue
    (record,) = [record for record in caplog.records if record.name == executor.__name__]
    assert f"payments in the queue '{POISON_CANDIDATES}' are left to the sweep" in record.getMessage()
    assert record.levelno == level
    assert bool(record.exc_info) == has_traceback
    assert record.event == "payment.queue_left_to_sweep"  # type: ignore[attr-defined]

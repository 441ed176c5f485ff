"""Fixtures: refunds of one tenant at a fake provider, the real sandbox, and executors with a long batch timeout."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.factories import Tenant
from tests.fakes import FakeProvider
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.integration.sandbox.harness import Sandbox
from tests.polling import GENEROUS_SECONDS
from workflows.processing import executor
from workflows.providers.registry import Providers
from workflows.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def long_batch_timeout() -> Iterator[None]:
    """Extend the executor's batch timeout.

    A busy machine may take longer than a worker's caller would wait. Tests of that timeout use
    ``worker_batch_timeout``.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "BATCH_TIMEOUT_SECONDS", GENEROUS_SECONDS)
        patch.setattr(executor, "WAITING_BATCHES", 1_000)
        yield


@pytest.fixture
def worker_batch_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the batch timeout and the number of waiting callers that a worker has."""
    monkeypatch.setattr(executor, "BATCH_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(executor, "WAITING_BATCHES", 4)


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """Yield a running sandbox without latency. Teardown checks that it stops cleanly and logged no error."""
    running = await Sandbox.start(tmp_path_factory.mktemp("sandbox"))
    yield running
    await running.stop()


@pytest.fixture
async def refunds(
    settings: Settings, engines: None, tenant: Tenant, provider: FakeProvider
) -> AsyncIterator[RefundMaker]:
    """Yield a maker of payments and refunds of ``tenant`` at ``provider``.

    Teardown waits until no call is open.
    """
    maker = RefundMaker(settings, Providers({provider.name: provider}), tenant)
    yield maker
    provider.release()
    for processor in (maker.processor, maker.payments.processor):
        await asyncio.wait_for(processor.drain(5), timeout=10)

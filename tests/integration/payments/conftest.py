"""Fixtures: an intake of payments, and a second worker."""

from collections.abc import AsyncIterator

import pytest

from tests.factories import PaymentMaker
from tests.fakes import FakeProvider
from workflows.payments.accept import PaymentIntake
from workflows.processing.executor import LeaseExecutor
from workflows.providers.base import Charge
from workflows.providers.registry import Providers
from workflows.refunds.workload import PAYMENTS
from workflows.settings import Settings


@pytest.fixture
def accepting(payments: PaymentMaker) -> PaymentIntake:
    return payments.accepting


@pytest.fixture
async def other_worker(
    settings: Settings, provider: FakeProvider, engines: None
) -> AsyncIterator[LeaseExecutor[Charge]]:
    """Yield the executor of a second worker process at the same provider."""
    worker = LeaseExecutor(
        PAYMENTS, settings=settings, providers=Providers({provider.name: provider}), worker="the-other-worker"
    )
    yield worker
    provider.release()
    await worker.drain(5)

"""Fixtures: a shop that sells, and its back office."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.factories import PaymentMaker, Tenant
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.settlements.back_office import BackOffice
from tests.integration.settlements.settlement_helpers import WORKER, SettlementShop
from workflows.processing.executor import LeaseExecutor
from workflows.providers.registry import Providers
from workflows.refunds.workload import REFUNDS
from workflows.settings import Settings
from workflows.settlements.open_periods import open_due_periods


@pytest.fixture
async def shop(
    settings: Settings,
    tenant: Tenant,
    admin: psycopg.AsyncConnection[DictRow],
    payments: PaymentMaker,
    provider: FakeProvider,
) -> AsyncIterator[SettlementShop]:
    """Yield a store that can sell and refund, and has no settlement period yet."""
    providers = Providers({provider.name: provider})
    refunds = LeaseExecutor(REFUNDS, settings=settings, providers=providers, worker=WORKER)
    yield SettlementShop(tenant, admin, payments, refunds, provider)
    provider.release()
    await asyncio.wait_for(refunds.drain(5), timeout=10)


@pytest.fixture
async def back_office(shop: SettlementShop, api: Api, settings: Settings) -> AsyncIterator[BackOffice]:
    await open_due_periods(worker="worker-of-the-test")
    made = BackOffice(shop, api, settings)
    yield made
    assert await made.net_violations() == [], "I15: at every rest point the settlements add up to the provider's net"

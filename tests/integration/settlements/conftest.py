"""A shop, ready to sell."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.factories import PaymentMaker, Tenant
from tests.fakes import FakeProvider
from tests.integration.settlements.kit import WORKER, Shop
from workflows.ledger.post import post_refunds
from workflows.providers.registry import Providers
from workflows.refunds.process import RefundProcessor
from workflows.settings import Settings


@pytest.fixture
async def shop(
    settings: Settings,
    tenant: Tenant,
    admin: psycopg.AsyncConnection[DictRow],
    payments: PaymentMaker,
    provider: FakeProvider,
) -> AsyncIterator[Shop]:
    """A store with its till; it has no period yet."""
    providers = Providers({provider.name: provider})
    refunds = RefundProcessor(settings, providers, worker=WORKER, aftermath=(post_refunds,))
    yield Shop(tenant, admin, payments, refunds, provider)
    provider.release()
    await asyncio.wait_for(refunds.drain(5), timeout=10)

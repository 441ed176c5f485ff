"""Refunds of one tenant, with a provider that does as the test tells it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.factories import Tenant
from tests.fakes import FakeProvider
from tests.integration.refunds.kit import RefundMaker
from workflows.providers.registry import Providers
from workflows.settings import Settings


@pytest.fixture
async def refunds(
    settings: Settings, engines: None, tenant: Tenant, provider: FakeProvider
) -> AsyncIterator[RefundMaker]:
    """Makes payments of ``tenant`` and gives them back with ``provider``."""
    maker = RefundMaker(settings, Providers({provider.name: provider}), tenant)
    yield maker
    provider.release()
    for hands in (maker.processor, maker.payments.processor):
        await asyncio.wait_for(hands.drain(5), timeout=10)

"""Run one complete stack for all end-to-end tests, which share nothing but its store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mpac.stack.services import ALL_SERVICES
from tests.live_stack import LiveStack, live_stack

USUAL_TIMEOUTS = {"MPAC_LEASE_SECONDS": "30", "MPAC_STATEMENT_TIMEOUT_MS": "10000"}
"""Generous timeouts. No fault is injected, so a busy machine must not cause a refused request or an expired lease."""


@pytest.fixture(scope="package")
async def started(home: Path) -> AsyncIterator[LiveStack]:
    """Yield a stack with all services, as ``mpac up`` starts them."""
    async with live_stack(home / "e2e", services=ALL_SERVICES, env=USUAL_TIMEOUTS) as running:
        yield running


@pytest.fixture(scope="module")
async def live(started: LiveStack) -> AsyncIterator[LiveStack]:
    """Yield the running stack.

    Teardown asserts that no process ended unexpectedly, closes the business day and runs all auditors.
    """
    started.stack.forget_ends()
    yield started
    assert started.stack.unexpected_ends == []
    await started.close_the_day()
    await started.audit()

"""One live stack with all parts for all journeys, which share nothing but the store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mpac.stack.services import ALL_SERVICES
from tests.live_stack import LiveStack, live_stack

USUAL_TIMEOUTS = {"MPAC_LEASE_SECONDS": "30", "MPAC_STATEMENT_TIMEOUT_MS": "10000"}
"""No fault is injected here, so a slow moment of the machine must neither refuse a request nor end a lease."""


@pytest.fixture(scope="package")
async def started(home: Path) -> AsyncIterator[LiveStack]:
    """All parts, as ``mpac up`` starts them."""
    async with live_stack(home / "e2e", services=ALL_SERVICES, env=USUAL_TIMEOUTS) as running:
        yield running


@pytest.fixture(scope="module")
async def live(started: LiveStack) -> AsyncIterator[LiveStack]:
    """Yield the stack. After a module its day is closed, no process has ended unasked, and no auditor finds anything."""
    started.stack.forget_ends()
    yield started
    assert started.stack.unexpected_ends == []
    await started.close_the_day()
    await started.audit()

"""One live stack with everything in it for all journeys: they share nothing but the shop."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mpac.stack.services import ALL_SERVICES
from tests.live_stack import LiveStack, live_stack

USUAL_PATIENCE = {"MPAC_LEASE_SECONDS": "30", "MPAC_STATEMENT_TIMEOUT_MS": "10000"}
"""Nobody is hurt here: who takes a little longer on a busy machine is neither refused nor taken for dead."""


@pytest.fixture(scope="module")
async def live(home: Path) -> AsyncIterator[LiveStack]:
    """All parts as ``mpac up`` starts them; after the last journey the day is closed and all judges look at it."""
    async with live_stack(home / "e2e", services=ALL_SERVICES, env=USUAL_PATIENCE) as running:
        yield running
        await running.close_the_day()
        await running.judge()

"""One living stack with everything in it for all journeys: they share nothing but the shop."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mpac.stack.parts import EVERYTHING
from tests.living import Living, living


@pytest.fixture(scope="module")
async def town(home: Path) -> AsyncIterator[Living]:
    """All parts as ``mpac up`` starts them; after the last journey the day is closed and all judges look at it."""
    async with living(home / "e2e", parts=EVERYTHING) as running:
        yield running
        await running.close_the_day()
        await running.judge()

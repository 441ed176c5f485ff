"""Stacks that are hurt on purpose. Each is shared by a module's tests: what one leaves broken is made whole for the next."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.kill_scenarios import CrashStack, crash_stack
from tests.live_stack import WITHOUT_FLOWER, LiveStack, live_stack


@pytest.fixture(scope="module")
async def shared_live_stack(home: Path, request: pytest.FixtureRequest) -> AsyncIterator[LiveStack]:
    """Two workers for payments and all else once.

    What dies is started again, unless the module is ``UNSUPERVISED``; the database may be crashed if it is ``DURABLE``.
    ``VARIABLES`` of the module are added to the environment.
    """
    restart = not getattr(request.module, "UNSUPERVISED", False)
    durable = getattr(request.module, "DURABLE", False)
    variables = getattr(request.module, "VARIABLES", {})
    folder = home / f"chaos-{request.module.__name__.rpartition('_')[2]}"
    async with live_stack(
        folder, services=WITHOUT_FLOWER, workers=2, env=variables, restart=restart, durable=durable
    ) as running:
        yield running


@pytest.fixture
async def live(shared_live_stack: LiveStack) -> AsyncIterator[LiveStack]:
    """The stack, whole before and after; after each fault its day is closed, and all judges find everything in order."""
    await shared_live_stack.revive()
    yield shared_live_stack
    await shared_live_stack.revive()
    await shared_live_stack.close_the_day()
    await shared_live_stack.judge()


@pytest.fixture(scope="module")
async def crashing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CrashStack]:
    """A stack whose workers die at the point that they are told."""
    async with crash_stack(tmp_path_factory.mktemp("k")) as found:
        yield found

"""Stacks that are hurt on purpose. Each is shared by a module's tests: what one leaves broken is made whole for the next."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.kill_scenarios import Stage, kill_stage
from tests.live_stack import WITHOUT_FLOWER, Living, living


@pytest.fixture(scope="module")
async def whole_town(home: Path, request: pytest.FixtureRequest) -> AsyncIterator[Living]:
    """Two workers for payments and all else once.

    What dies is started again, unless the module is ``UNSUPERVISED``; the database may be crashed if it is ``DURABLE``.
    ``VARIABLES`` of the module are added to the environment.
    """
    restart = not getattr(request.module, "UNSUPERVISED", False)
    durable = getattr(request.module, "DURABLE", False)
    variables = getattr(request.module, "VARIABLES", {})
    folder = home / f"chaos-{request.module.__name__.rpartition('_')[2]}"
    async with living(
        folder, parts=WITHOUT_FLOWER, workers=2, env=variables, restart=restart, durable=durable
    ) as running:
        yield running


@pytest.fixture
async def town(whole_town: Living) -> AsyncIterator[Living]:
    """The stack, whole before and after; after each fault its day is closed, and all judges find everything in order."""
    await whole_town.revive()
    yield whole_town
    await whole_town.revive()
    await whole_town.close_the_day()
    await whole_town.judge()


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A stack whose workers die at the point that they are told."""
    async with kill_stage(tmp_path_factory.mktemp("k")) as found:
        yield found

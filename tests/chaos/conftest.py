"""Stacks that tests break on purpose. Modules that need the same kind share one; each test finds it and leaves it whole."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis

from tests.chaos.kill_scenarios import CrashStack, crash_stack
from tests.chaos.queues import broker_of
from tests.live_stack import WITHOUT_FLOWER, LiveStack, live_stack

Stack = TypeVar("Stack")
Open = Callable[[Path], AbstractAsyncContextManager[Stack]]
FOLDER = Path(__file__).parent


class SharedStacks:
    """The running stack of this session: one at a time, because nothing may run beside what is being broken."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._kind: Any = None
        self._stack: Any = None
        self._exit = AsyncExitStack()
        self._numbers = count(1)

    async def get(self, kind: Any, open_stack: Open[Stack]) -> Stack:
        """Return the stack of this kind; if another kind runs, stop it and start one."""
        if kind != self._kind:
            await self.close()
            folder = self._home / f"chaos-{next(self._numbers)}"
            self._stack = await self._exit.enter_async_context(open_stack(folder))
            self._kind = kind
        stack: Stack = self._stack
        return stack

    async def close(self) -> None:
        """Stop what runs."""
        self._kind = self._stack = None
        await self._exit.aclose()


def kind_of(module: Any) -> tuple[str, tuple[Any, ...]]:
    """Return what a module needs, as something that can be compared and sorted."""
    variables = tuple(sorted(getattr(module, "VARIABLES", {}).items()))
    options = (getattr(module, "UNSUPERVISED", False), getattr(module, "DURABLE", False), variables)
    return getattr(module, "STACK", "live"), options


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let modules that share a stack follow each other, unless another order was asked for."""
    if config.getoption("--shuffle") is not None:
        return
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(FOLDER)]
    ours = sorted((items[place] for place in places), key=lambda item: kind_of(item.module))  # type: ignore[attr-defined]
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
async def shared_stacks(home: Path) -> AsyncIterator[SharedStacks]:
    """Keep one stack running for the modules that need the same kind."""
    stacks = SharedStacks(home)
    yield stacks
    await stacks.close()


@pytest.fixture
async def shared_live_stack(shared_stacks: SharedStacks, request: pytest.FixtureRequest) -> LiveStack:
    """Two workers for payments and one of everything else.

    A process that dies is started again, unless the module is ``UNSUPERVISED``. The database may be crashed if the module is
    ``DURABLE``. The module's ``VARIABLES`` are added to the environment.
    """
    kind = name, (unsupervised, durable, variables) = kind_of(request.module)
    assert name == "live"
    return await shared_stacks.get(
        kind,
        partial(
            live_stack,
            services=WITHOUT_FLOWER,
            workers=2,
            env=dict(variables),
            restart=not unsupervised,
            durable=durable,
        ),
    )


@pytest.fixture
async def live(shared_live_stack: LiveStack) -> AsyncIterator[LiveStack]:
    """Yield the stack, whole before and after a fault.

    After each test no process has ended except by the test, the day is closed, and no auditor finds anything.
    """
    await shared_live_stack.revive()
    shared_live_stack.stack.forget_ends()
    yield shared_live_stack
    await shared_live_stack.revive()
    assert shared_live_stack.stack.unexpected_ends == []
    await shared_live_stack.close_the_day()
    await shared_live_stack.audit()


@pytest.fixture
async def broker(live: LiveStack) -> AsyncIterator[Redis]:
    """Yield a connection to the broker of the stack."""
    async with broker_of(live.stack) as client:
        yield client


@pytest.fixture
async def crashing(shared_stacks: SharedStacks) -> AsyncIterator[CrashStack]:
    """Yield a stack whose workers die at the point that a test names, and nowhere else."""
    stack = await shared_stacks.get("crashing", crash_stack)
    yield stack
    assert stack.unexpected_ends() == []

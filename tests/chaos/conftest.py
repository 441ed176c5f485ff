"""Provide stacks for tests that break them. Modules that need the same kind of stack share one.

Each test starts with a healthy stack and must leave it healthy.
"""

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
    """The running stack of this process. Only one runs at a time, because an idle stack takes CPU time, too."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._kind: Any = None
        self._stack: Any = None
        self._exit = AsyncExitStack()
        self._numbers = count(1)

    async def get(self, kind: Any, open_stack: Open[Stack]) -> Stack:
        """Return the stack of this kind. If another kind is running, stop it and start this one."""
        if kind != self._kind:
            await self.close()
            folder = self._home / f"chaos-{next(self._numbers)}"
            self._stack = await self._exit.enter_async_context(open_stack(folder))
            self._kind = kind
        stack: Stack = self._stack
        return stack

    async def close(self) -> None:
        """Stop the running stack, if any."""
        self._kind = self._stack = None
        await self._exit.aclose()


def kind_of(module: Any) -> tuple[str, tuple[Any, ...]]:
    """Return the kind of stack that a module needs, as a comparable and sortable value."""
    variables = tuple(sorted(getattr(module, "VARIABLES", {}).items()))
    options = (getattr(module, "UNSUPERVISED", False), getattr(module, "DURABLE", False), variables)
    return getattr(module, "STACK", "live"), options


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the modules by the kind of stack that they need, unless ``--shuffle`` was given."""
    if config.getoption("--shuffle") is not None:
        return
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(FOLDER)]
    ours = sorted((items[place] for place in places), key=lambda item: kind_of(item.module))  # type: ignore[attr-defined]
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
async def shared_stacks(home: Path) -> AsyncIterator[SharedStacks]:
    """Yield the running stack of the session, which is replaced when a module needs another kind."""
    stacks = SharedStacks(home)
    yield stacks
    await stacks.close()


@pytest.fixture
async def shared_live_stack(shared_stacks: SharedStacks, request: pytest.FixtureRequest) -> LiveStack:
    """Return a stack with two workers for payments and one process of every other kind.

    The supervisor restarts a process that dies, unless the module sets ``UNSUPERVISED``. Data survives a crash of the
    database only if the module sets ``DURABLE``. The module's ``VARIABLES`` are added to the environment.
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
    """Yield the shared stack after restoring it.

    Teardown restores the stack again, asserts that no process ended unexpectedly, closes the business day and runs all
    auditors.
    """
    await shared_live_stack.restore()
    shared_live_stack.stack.forget_ends()
    yield shared_live_stack
    await shared_live_stack.restore()
    assert shared_live_stack.stack.unexpected_ends == []
    await shared_live_stack.close_the_day()
    await shared_live_stack.audit()


@pytest.fixture
async def broker(live: LiveStack) -> AsyncIterator[Redis]:
    """Yield a connection to the stack's broker."""
    async with broker_of(live.stack) as client:
        yield client


@pytest.fixture
async def crashing(shared_stacks: SharedStacks) -> AsyncIterator[CrashStack]:
    """Yield a stack whose workers crash only at the point that a test names."""
    stack = await shared_stacks.get("crashing", crash_stack)
    yield stack
    assert stack.unexpected_ends() == []

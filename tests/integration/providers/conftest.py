"""Both event loops: the product's workers run on uvloop, and the behaviour of a connection depends on the loop."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a scenario on an event loop of its own."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner.run

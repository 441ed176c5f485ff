"""Share one run of a probe among all callers that ask for it at the same time.

Probes such as ``/health/ready`` take no token, so their callers are not counted. Without this, a flood of probes would
take every database connection that payments need.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """A probe that runs at most once at a time on an event loop, whatever the number of callers."""

    def __init__(self, probe: Callable[[], Awaitable[Result]]) -> None:
        self._probe = probe
        self._running: asyncio.Task[Result] | None = None

    async def result(self) -> Result:
        """Return the result of the run in progress, or of a new run. Raises what the probe raises."""
        loop = asyncio.get_running_loop()
        if self._running is None or self._running.done() or self._running.get_loop() is not loop:
            self._running = loop.create_task(self._run())
        # A caller that disconnects must not cancel the run for the others.
        return await asyncio.shield(self._running)

    async def _run(self) -> Result:
        return await self._probe()

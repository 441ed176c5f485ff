"""Run the coroutines of ``workflows`` from Celery's threads, on one event loop per worker process.

``workflows`` is async and Celery is not. Payments and refunds are submitted by the main thread (``workers.loop_pool``). The
thread of any other task submits one coroutine and waits for it.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

Result = TypeVar("Result")

TASK_TIMEOUT_SECONDS = 110
"""Timeout of a task. It must be below the broker's visibility timeout, so that no running task is delivered again."""


class EventLoopThread:
    """A thread that runs one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread and its loop. Call once per process."""
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run ``work`` on the loop and wait for its result. Raises what ``work`` raises, or ``TimeoutError``."""
        return self.submit(_bounded(work)).result()

    def submit(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Start ``work`` on the loop, and return without waiting for it."""
        if self._loop is None:
            work.close()
            raise RuntimeError("the event loop of this worker has not been started")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """Stop the loop and its thread."""
        if self._loop and self._thread:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5)


async def _bounded(work: Coroutine[Any, Any, Result]) -> Result:
    async with asyncio.timeout(TASK_TIMEOUT_SECONDS):
        return await work

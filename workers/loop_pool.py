"""Run tasks that are one coroutine on the worker's event loop, without a thread per task.

| task                                                      | runs                                                           |
|-----------------------------------------------------------|----------------------------------------------------------------|
| a ``LoopTask``                                            | on the event loop                                              |
| a ``LoopTask`` that raised, or that is delivered again    | in a thread, where Celery handles it like any other task       |
| any other                                                 | in a thread                                                    |

A thread per task costs two switches of threads: one to start the coroutine, and one to return its result. Here the main thread
hands the received tasks to the loop just before it waits for the next message. Earlier, the two threads would compete for
Python's lock, which cost some ten switches per task. The loop collects the tasks that have ended, and the main thread
acknowledges them when it is awake anyway. A message that is acknowledged later may be delivered again if the worker dies
before, which is harmless, because it is only a nudge.
"""

import asyncio
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from time import monotonic
from typing import Any, NamedTuple

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult, TaskPool
from kombu.serialization import loads

from workers import runtime
from workers.event_loop import TASK_TIMEOUT_SECONDS
from workers.task_classes import LoopTask
from workers.task_events import remember_result

logger = logging.getLogger(__name__)

COLLECT_SECONDS, BUSY_SECONDS = 1.0, 0.05
"""How long an ended task waits at most for the main thread to wake up by itself, while few and while many tasks are open.

No payment waits for it: only Flower shows the task's end later.
"""

COLLECT_AT_MOST = 8
"""Open tasks, those in threads included, from which on a worker is busy, and ended ones that are acknowledged without
waiting: each of them holds one of the prefetched messages, of which there are at least 16."""


class Ended(NamedTuple):
    """A task that has ended: Celery's callback, the result, and how long it took, in seconds."""

    callback: Callable[[tuple[int, Any, float]], None]
    result: Any
    seconds: float


class LoopPool(TaskPool):
    """Celery's pool of threads, beside which ``LoopTask``s run on the worker's event loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hub: Any = None
        self._ended: deque[Ended] = deque()
        self._received: deque[Coroutine[Any, Any, None]] = deque()
        self._finish_by = math.inf
        self._running: set[Future[None]] = set()
        self._in_threads: set[Future[Any]] = set()

    def register_with_event_loop(self, hub: Any) -> None:
        """Store Celery's own loop, which runs in the main thread. Celery calls this per connection."""
        self._hub = hub
        call_before_each_wait(hub.poller, self._before_wait)

    def _before_wait(self) -> None:
        self.finish_ended()
        self.hand_over()

    def hand_over(self) -> None:
        """Start the received tasks on the event loop. It runs in the main thread."""
        while self._received:
            running = runtime.submit(self._received.popleft())
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    def on_apply(  # noqa: PLR0917 - the signature is Celery's
        self,
        target: Any,
        args: Any = (),
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **options: Any,
    ) -> ApplyResult | None:
        """Start a task. Celery calls this in the main thread."""
        name, task_id, request, body, content_type, content_encoding = args
        task = self.app.tasks[name]
        is_redelivered = (request.get("delivery_info") or {}).get(
            "redelivered"
        )  # its deliveries are counted, which blocks
        if not isinstance(task, LoopTask) or is_redelivered or self._hub is None:
            in_thread: ApplyResult = super().on_apply(target, args, kwargs, callback, accept_callback, **options)
            self._in_threads.add(in_thread.f)
            in_thread.f.add_done_callback(self._in_threads.discard)
            return in_thread
        accept_callback(os.getpid(), monotonic())
        positional, keywords, _ = loads(body, content_type, content_encoding, accept={content_type})

        def handle_error(error: BaseException) -> None:
            task.errors[task_id] = error
            self.executor.submit(apply_target, target, args, kwargs, callback)

        self._received.append(self._run(lambda: task.run(*positional, **keywords), callback, handle_error))
        return None

    async def _run(
        self, work: Callable[[], Coroutine[Any, Any, Any]], callback: Any, handle_error: Callable[[BaseException], None]
    ) -> None:
        began = monotonic()
        try:
            async with asyncio.timeout(TASK_TIMEOUT_SECONDS):
                result = await work()
        except asyncio.CancelledError:  # it would end this coroutine, and the message would never be acknowledged
            handle_error(RuntimeError("the task was cancelled"))
        except Exception as error:
            handle_error(error)
        else:
            self._collect(Ended(callback, result, monotonic() - began))

    def _collect(self, ended: Ended) -> None:
        self._ended.append(ended)
        if len(self._ended) >= COLLECT_AT_MOST:
            self._hub.call_soon(self.finish_ended)
            return
        loop = asyncio.get_running_loop()
        is_busy = len(self._running) + len(self._in_threads) + len(self._ended) >= COLLECT_AT_MOST
        finish_by = loop.time() + (BUSY_SECONDS if is_busy else COLLECT_SECONDS)
        if finish_by < self._finish_by:
            self._finish_by = finish_by
            loop.call_at(finish_by, self._wake_main_thread)

    def _wake_main_thread(self) -> None:
        self._finish_by = math.inf
        if self._ended:
            self._hub.call_soon(self.finish_ended)

    def finish_ended(self) -> None:
        """Acknowledge the ended tasks and send their events. It runs in the main thread."""
        while self._ended:
            callback, result, seconds = self._ended.popleft()
            remember_result(result)
            try:
                callback((0, None, seconds))
            except Exception:  # here it would end the worker's main loop, and with it the whole process
                extra = {"event": "worker.acknowledge_failed"}
                logger.exception("the end of a task could not be handled", extra=extra)

    def on_stop(self) -> None:
        """Wait for the running tasks, and acknowledge them. Celery calls this when the worker shuts down."""
        self.hand_over()
        wait(set(self._running), timeout=TASK_TIMEOUT_SECONDS)
        self.finish_ended()
        super().on_stop()


def call_before_each_wait(poller: Any, callback: Callable[[], None]) -> None:
    """Make ``poller`` call ``callback`` each time before it waits.

    Celery's loop waits for messages with it. Callbacks of the loop itself run earlier, before it has asked the broker for the
    next message.
    """
    poll = poller.poll

    def call_and_wait(timeout: float) -> Any:
        callback()
        return poll(timeout)

    poller.poll = call_and_wait

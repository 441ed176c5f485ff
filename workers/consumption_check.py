"""Check in each worker that it consumes messages: the worker sends canaries to itself, over a queue that only it consumes.

A worker can run without consuming: it has not noticed that its connection to the broker was lost, its consumers were
cancelled, or all its threads hang. Only a message that arrives proves that it consumes. A thread of the worker writes the
result to the table ``workers``, and logs an error when no message arrives, because there may be no other process that can.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from celery.signals import worker_ready, worker_shutting_down
from celery.utils.nodenames import worker_direct

from workers.app import app, settings
from workers.queue_length import messages_waiting
from workers.runtime import run, runtime
from workflows.ops.liveness import note_worker

logger = logging.getLogger(__name__)

WRITES_PER_LIMIT, CANARIES_PER_LIMIT = 12, 4  # per ``silence_seconds``: by default every 5 s and every 15 s
FIRST_SECONDS = 0.5  # interval between canaries until the first one arrives
MAX_WAITING = 3
"""Number of canaries in the queue at which the worker sends no more, because it does not consume them."""

on_first_message: list[Callable[[], None]] = []
"""Callbacks that run when the first canary arrives, which means that the worker is ready."""


class ConsumptionCheck:
    """The check of this worker, and when a canary last arrived.

    ``consumes`` returns whether the worker has a consumer for each queue that it was started for.
    """

    def __init__(
        self, queues: list[str], *, consumes: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queues = queues
        self._consumes = consumes
        self._clock = clock
        self._limit = settings.silence_seconds
        self._since = self._last_run = clock()
        self._arrived_at: float | None = None
        self._stored_at: float | None = None
        self._sent_at: float | None = None
        self._is_new = self._is_consuming = True

    def message_arrived(self) -> None:
        """Record that a canary has arrived. It counts only if this worker consumes all its queues."""
        if not self._consumes():
            return
        is_first, self._arrived_at = self._arrived_at is None, self._clock()
        if is_first:
            for callback in on_first_message:
                callback()

    def run_once(self) -> float:
        """Log a change, send the next canary and write the state to the database.

        Return the seconds until the next run.
        """
        self._report()
        try:
            self._send()
        except Exception as error:  # the broker is unavailable: the check will find that no canary arrives
            logger.debug("no canary could be sent to this worker itself: %s", error)
        try:
            self._store_state()
        except Exception as error:
            logger.warning("this worker could not write that it runs: %s", error, extra={"event": "worker.unnoted"})
        return FIRST_SECONDS if self._arrived_at is None else self._limit / WRITES_PER_LIMIT

    def _report(self) -> None:
        now = self._clock()
        if now - self._last_run > self._limit / 3:
            self._since = now  # this process was frozen, so nothing could arrive
        self._last_run = now
        silent = now - max(self._since, self._arrived_at or self._since)
        is_well = silent < self._limit
        if self._is_consuming and not is_well:
            message = (
                "this worker has consumed no message for %d s; check its connection to the broker, then restart it"
            )
            logger.error(message, silent, extra={"event": "worker.deaf"})
        elif is_well and not self._is_consuming:
            logger.warning("this worker consumes messages again", extra={"event": "worker.heard"})
        self._is_consuming = is_well

    def _send(self) -> None:
        period = FIRST_SECONDS if self._arrived_at is None else self._limit / CANARIES_PER_LIMIT
        if self._sent_at is not None and self._clock() - self._sent_at < period:
            return
        self._sent_at = self._clock()
        queue = own_queue()
        if messages_waiting(queue.name) < MAX_WAITING:
            app.send_task("canaries.hear", queue=queue, retry=False, ignore_result=True)

    def _store_state(self) -> None:
        heard = self._arrived_at
        ago = None if heard is None or heard == self._stored_at else self._clock() - heard
        run(note_worker(runtime().worker, self._queues, heard_seconds_ago=ago, is_new=self._is_new))
        self._stored_at, self._is_new = heard, False


def own_queue() -> Any:
    """Return the queue that only this worker consumes."""
    return worker_direct(runtime().worker)


_made: list[ConsumptionCheck] = []
_stopping = threading.Event()


async def record_arrival() -> None:
    """Record that a canary has arrived.

    The function is async, so that it proves that the event loop runs, which every task needs.
    """
    if _made:
        _made[0].message_arrived()


@worker_ready.connect
def _start(sender: Any, **_: Any) -> None:
    queues = [name for name in app.amqp.queues.consume_from if name != own_queue().name]

    def consumes() -> bool:
        consumer = sender.task_consumer
        return consumer is not None and all(consumer.consuming_from(name) for name in queues)

    _made.append(ConsumptionCheck(sorted(queues), consumes=consumes))
    threading.Thread(target=_run_forever, name="hearing", daemon=True).start()


def _run_forever() -> None:
    while not _stopping.is_set():
        _stopping.wait(_made[0].run_once())


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()

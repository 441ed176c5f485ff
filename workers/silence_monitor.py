"""Send canaries from each API process, and report queues, workers and beat that are silent.

The workers for sweeps report silence too (``beat.beat_monitor``), but they may be silent themselves. A thread reads two small
tables every few seconds. No request waits for it, and a broker that hangs delays it only by the broker client's timeouts.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from workflows.database.engines import Role
from workflows.ops.liveness import BACKLOG_LIMIT, note_sent, read_ages, read_heartbeats
from workflows.ops.silence_rules import Component, Observation, SilenceTracker

logger = logging.getLogger(__name__)

QUEUES = ("payments", "refunds", "settlements", "webhooks", "sweeps")
"""The queues of ``workers.app``. Only the thread imports that module, because the import needs the broker's address and takes
a third of a second."""

CHECKS_PER_LIMIT, CANARIES_PER_LIMIT = 12, 4  # per ``silence_seconds``: by default every 5 s and every 15 s
DATABASE_TIMEOUT_SECONDS = 5.0


@dataclass
class Broker:
    """The last answer of the broker to this process: its time (monotonic seconds), and the length of each queue."""

    answered_at: float
    waiting: dict[str, int] = field(default_factory=dict)


class SilenceMonitor:
    """The thread that sends canaries and checks for silence, and the states of all components as this process sees them."""

    def __init__(self, *, silence_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = silence_seconds
        self._clock = clock
        self._tracker = SilenceTracker(QUEUES, limit=silence_seconds, clock=clock)
        self._broker = Broker(clock())
        self._sent: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._query: Future[Any] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run_forever, name="listening", daemon=True)

    def start(self) -> None:
        """Start the thread. It queries the database on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Signal the thread to stop, and return without waiting for it.

        The thread may be waiting for the broker.
        """
        self._stopping.set()

    @property
    def components(self) -> tuple[Component, ...]:
        """The states of all queues and workers, beat, the broker and the database, at most a few seconds old."""
        return self._tracker.components

    @property
    def broker_silent_seconds(self) -> float:
        """The seconds since the broker last accepted canaries from this process."""
        return self._clock() - self._broker.answered_at

    def messages_waiting(self, queue: str) -> int | None:
        """Return the number of messages in ``queue`` when canaries were last sent.

        Return ``None`` if the broker does not answer.
        """
        return None if self.broker_silent_seconds >= self._limit / 3 else self._broker.waiting.get(queue)

    def run_once(self) -> None:
        """Read the states of all components and report changes. Send canaries if they are due."""
        is_due = self._sent is None or self._clock() - self._sent >= self._limit / CANARIES_PER_LIMIT
        try:
            if is_due:
                self._run(note_sent(list(QUEUES), role=Role.ACCEPT))
            ages = self._run(read_ages(Role.ACCEPT))
            workers = self._run(read_heartbeats(Role.ACCEPT))
        except Exception as error:
            logger.debug("the database did not answer: %s", type(error).__name__)
            self._tracker.note_database_silent()
            return
        if is_due:
            self._send()
        self._tracker.update(Observation(ages, workers, self.broker_silent_seconds))

    def _send(self) -> None:
        from workers.canaries import acknowledge  # noqa: PLC0415 - see QUEUES
        from workers.queue_length import messages_waiting  # noqa: PLC0415 - as above

        self._sent = self._clock()
        try:
            waiting = {queue: messages_waiting(queue) for queue in QUEUES}
            for queue in QUEUES:
                if waiting[queue] < BACKLOG_LIMIT:
                    acknowledge.apply_async((queue,), queue=queue, retry=False)
        except Exception as error:
            logger.debug("the broker accepted no canary: %s", error)
        else:
            self._broker = Broker(self._clock(), waiting)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run ``work`` on the event loop and return its result.

        Raises ``TimeoutError`` if it takes too long, or if an earlier query still hangs.
        """
        if self._loop is None or (self._query is not None and not self._query.done()):
            work.close()
            raise TimeoutError
        self._query = asyncio.run_coroutine_threadsafe(work, self._loop)
        return self._query.result(DATABASE_TIMEOUT_SECONDS)

    def _run_forever(self) -> None:
        while not self._stopping.wait(self._limit / CHECKS_PER_LIMIT):
            try:
                self.run_once()
            except Exception:  # the thread must continue, because no other process may be left to report a silence
                logger.exception(
                    "the check for silent queues and workers failed", extra={"event": "silence_watch.failed"}
                )

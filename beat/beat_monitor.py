"""Report when no message of beat arrives, and when a queue is not consumed. Send the canaries that queues are checked with.

Each worker for sweeps runs this in a thread, because beat cannot report that beat is down. The thread uses the monotonic
clock. It writes when beat was last heard to the database; the API reads it for `mpac_beat_silent_seconds` and `/health/ready`.

Nothing is reported as silent while this process could not have received a message: while the broker accepts nothing from it,
and for a while after the process itself was frozen.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery.signals import worker_ready, worker_shutting_down

from workers.app import QUEUES, settings
from workers.canaries import acknowledge
from workers.queue_length import messages_waiting
from workers.runtime import run, runtime
from workflows.ops.liveness import BACKLOG_LIMIT, BEAT, find_silent_queues, note_beat, note_sent
from workflows.ops.silence_rules import AGAIN_SECONDS

logger = logging.getLogger(__name__)

SILENCE_SECONDS = settings.silence_seconds
CANARY_SECONDS = SILENCE_SECONDS / 4  # by default 15 s; a queue that is not consumed is noticed within a minute
SHORTEST_SECONDS = 1.0  # the lower limit when tests and demos shorten the timetable
BLIND_SECONDS = SILENCE_SECONDS / 3 + 2 * SHORTEST_SECONDS
"""A gap of more than this between two runs means that this process was frozen or the broker was unavailable.

For the same time afterwards nothing is reported as silent, so that waiting messages can arrive.
"""

MESSAGES = {
    BEAT: "%s: no sweep has arrived for %d s; check beat, the broker and this worker's connection to it",
    "queue": "the queue %s has not been consumed for %d s; check its workers",
}


class BeatMonitor:
    """The check of beat and the queues: when a message of beat last arrived, and what was reported as silent."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = self._last_run = self._broker_accepted_at = clock()
        self._blind_since: float | None = None
        self._arrived_at: float | None = None
        self._stored_at: float | None = None
        self._reported_at: dict[tuple[str, str], float] = {}
        self.wake = threading.Event()

    def start_measuring(self) -> None:
        """Measure beat's silence from now on."""
        self._since = self._clock()

    def message_arrived(self) -> None:
        """Record the arrival of a message that only beat sends."""
        is_news = self._arrived_at is None or self._clock() - self._arrived_at >= SILENCE_SECONDS
        self._arrived_at = self._clock()
        if is_news:
            self.wake.set()  # so that the arrival is written to the database at once

    @property
    def silent_seconds(self) -> float:
        """The seconds since a message of beat last arrived, or could have arrived."""
        return self._clock() - (self._since if self._arrived_at is None else max(self._arrived_at, self._since))

    def run_once(self) -> None:
        """Report silent components, store the time at which beat was last heard, and send canaries."""
        now = self._clock()
        if max(now - self._last_run, now - self._broker_accepted_at) > BLIND_SECONDS:
            self._blind_since = self._since = now  # nothing could arrive in the meantime
        if self._blind_since is None or now - self._blind_since >= BLIND_SECONDS:
            self._report_beat()
            _try(self._report_silent_queues)
        ago = math.inf if self._arrived_at is None else now - self._arrived_at
        # Written only after a new message: another write would make a dead beat look alive.
        if self._arrived_at != self._stored_at and ago < SILENCE_SECONDS:
            self._stored_at = self._arrived_at
            _try(lambda: run(note_beat(seconds_ago=ago, worker=runtime().worker)))
        _try(lambda: run(note_sent(list(QUEUES))))
        _try(self._send_canaries)
        self._last_run = self._clock()

    def _report_beat(self) -> None:
        if self.silent_seconds >= SILENCE_SECONDS:
            self._report(BEAT, {BEAT: self.silent_seconds})
        elif self._arrived_at is not None and self._arrived_at >= self._since:
            self._report(BEAT, {})

    def _report_silent_queues(self) -> None:
        silent = run(find_silent_queues(limit_seconds=SILENCE_SECONDS))
        self._report("queue", {found.queue: found.seconds for found in silent})

    def _report(self, kind: str, silent: Mapping[str, float]) -> None:
        """Log each part that becomes silent, and each that is heard again.

        The message about a silent part is repeated every ``AGAIN_SECONDS``.
        """
        now = self._clock()
        for name, seconds in silent.items():
            if now - self._reported_at.get((kind, name), -AGAIN_SECONDS) >= AGAIN_SECONDS:
                self._reported_at[kind, name] = now
                logger.error(MESSAGES[kind], name, seconds, extra={"event": f"{kind}.silent"})
        for key in [key for key in self._reported_at if key[0] == kind and key[1] not in silent]:
            del self._reported_at[key]
            called = key[1] if kind == BEAT else f"the queue {key[1]}"
            logger.warning("%s is heard again", called, extra={"event": f"{kind}.heard"})

    def _send_canaries(self) -> None:
        for queue in QUEUES:
            if messages_waiting(queue) < BACKLOG_LIMIT:
                acknowledge.apply_async((queue,), queue=queue, retry=False)
        self._broker_accepted_at = self._clock()


monitor = BeatMonitor()
_stopping = threading.Event()


def _try(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # the database or the broker is unavailable; the next run tries again
        logger.warning("a check of beat and the queues failed: %s", error, extra={"event": "watch.failed"})


def _run_forever() -> None:
    pause = max(SHORTEST_SECONDS, CANARY_SECONDS * settings.timetable_scale)
    while not _stopping.is_set():
        monitor.wake.wait(pause)
        monitor.wake.clear()
        monitor.run_once()


@worker_ready.connect
def _start(**_: Any) -> None:
    monitor.start_measuring()
    threading.Thread(target=_run_forever, name="watch", daemon=True).start()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()

"""Watch: a thread of each worker for sweeps that sends canaries through the queues and reports when beat is not heard.

Beat does not start it, because beat's absence has to be reported. Its pauses follow the monotonic clock of the process. The
API's `mpac_beat_silent_seconds` and `/health/ready` read the row that it writes to the database.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from celery.signals import worker_ready, worker_shutting_down

from workers.app import QUEUES, settings
from workers.canaries import sing
from workers.queues import messages_waiting
from workers.runtime import run, runtime
from workflows.canaries import find_silent_queues, note_beat, note_sent

logger = logging.getLogger(__name__)

SILENCE_SECONDS = settings.silence_seconds
CANARY_SECONDS = SILENCE_SECONDS / 4  # a deaf worker is noticed within a minute
SHORTEST_SECONDS = 1.0  # however much tests and demos shorten the timetable

MOST_WAITING = 200
"""A queue in which this many messages wait gets no more canaries: it is not consumed, and the broker's memory is finite."""


class Watch:
    """Note when this process last heard of beat, and report its silence."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._heard: float | None = None
        self._noted: float | None = None
        self.wake = threading.Event()

    def begin(self) -> None:
        """Expect beat to be heard from now on."""
        self._since = self._clock()

    def heard(self) -> None:
        """Note that a message which only beat sends has arrived."""
        is_news = self.silent_seconds >= SILENCE_SECONDS or self._heard is None
        self._heard = self._clock()
        if is_news:
            self.wake.set()  # so that the database has it at once

    @property
    def silent_seconds(self) -> float:
        """The seconds since beat was last heard here, or could have been."""
        return self._clock() - (self._since if self._heard is None else max(self._heard, self._since))

    def look(self) -> None:
        """Report beat's silence, note in the database that it was heard, and look after the canaries."""
        silent = self.silent_seconds
        if silent >= SILENCE_SECONDS:
            message = "no sweep has arrived for %d s; check beat, the broker and this worker's connection to it"
            logger.error(message, silent, extra={"event": "beat.silent"})
        elif (
            self._heard is not None and self._heard != self._noted
        ):  # a note without news would look like a beat that lives
            self._noted = self._heard
            _try(lambda: run(note_beat(seconds_ago=silent, worker=runtime().worker)))
        _try(_report_silent_queues)
        _try(lambda: run(note_sent(list(QUEUES))))
        _try(_send_canaries)


watch = Watch()
_stopping = threading.Event()


def _report_silent_queues() -> None:
    for found in run(find_silent_queues(patience_seconds=SILENCE_SECONDS)):
        message = "the queue %s has not been consumed for %d s; check its workers"
        logger.error(message, found.queue, found.seconds, extra={"event": "queue.silent"})


def _send_canaries() -> None:
    for queue in QUEUES:
        if messages_waiting(queue) < MOST_WAITING:
            sing.apply_async((queue,), queue=queue, retry=False)


def _try(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # the database or the broker is away; the watch goes on
        logger.warning("a check of beat and the queues failed: %s", error, extra={"event": "watch.failed"})


def _look_again_and_again() -> None:
    pause = max(SHORTEST_SECONDS, CANARY_SECONDS * settings.timetable_scale)
    while not _stopping.is_set():
        watch.wake.wait(pause)
        watch.wake.clear()
        watch.look()


@worker_ready.connect
def _start(**_: Any) -> None:
    watch.begin()
    threading.Thread(target=_look_again_and_again, name="watch", daemon=True).start()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()

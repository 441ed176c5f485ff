"""Send each entry of the timetable at its interval, by the monotonic clock and without stored state.

A key that the broker loses, a damaged file or a change of the wall clock therefore cannot stop the next tick. Several beat
processes may run at once: each sends all entries, and a sweep that runs twice only nudges twice. Messages do not expire,
because expiry compares the wall clocks of two machines. Instead, nothing is sent to a queue in which many messages wait.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from celery.beat import Scheduler

from workers.queue_length import messages_waiting
from workflows.ops.liveness import BACKLOG_LIMIT

logger = logging.getLogger(__name__)

AFTER_FAILURE_SECONDS = 1.0


class MonotonicScheduler(Scheduler):
    """A scheduler that keeps the next due time of each entry in memory. `celery beat` creates it and calls ``tick``."""

    def __init__(self, *args: Any, clock: Callable[[], float] = time.monotonic, **kwargs: Any) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}
        self._is_failing = True  # so that the first success is logged
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Make every entry due now, because beat may not have run for a while."""
        self._due = dict.fromkeys(self.app.conf.beat_schedule, self._clock())

    def tick(self, **_: Any) -> float:
        """Send the entries that are due. Return the seconds until the next entry is due."""
        for name, entry in self.app.conf.beat_schedule.items():
            if self._due[name] <= self._clock():
                if not self._send(entry["task"]):
                    return AFTER_FAILURE_SECONDS
                self._due[name] = self._clock() + entry["schedule"]
        return max(0.0, min(self._due.values()) - self._clock())

    def close(self) -> None:
        """Do nothing, because there is no state to store."""

    def _send(self, task: str) -> bool:
        """Send one message, unless many wait in its queue. Return False if the broker is unavailable."""
        try:
            if messages_waiting(task.partition(".")[0]) < BACKLOG_LIMIT:
                self.app.send_task(task, retry=False, ignore_result=True)
        except Exception as error:  # the broker's client raises many types; beat tries again
            if not self._is_failing:
                logger.warning("the broker accepts no messages from beat: %s", error, extra={"event": "beat.unsent"})
            self._is_failing = True
            return False
        if self._is_failing:
            logger.info("beat sends its messages", extra={"event": "beat.sends"})
        self._is_failing = False
        return True

"""Send each entry of the timetable at its interval, by the monotonic clock and without stored state.

No lost key of the broker, no file and no change of the wall clock can stop the next tick. Several beats may run at once:
each sends, and a sweep that runs twice only nudges twice. Messages do not expire, because expiry compares the wall clocks of
two machines; instead, nothing is sent to a queue that holds many messages already.
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
    """The timetable in memory. `celery beat` creates it and calls ``tick`` repeatedly."""

    def __init__(self, *args: Any, clock: Callable[[], float] = time.monotonic, **kwargs: Any) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}
        self._is_failing = True  # so that the first success is logged
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Make every entry due at once, because beat may have been away."""
        self._due = dict.fromkeys(self.app.conf.beat_schedule, self._clock())

    def tick(self, **_: Any) -> float:
        """Send the entries that are due; return the seconds until the next one."""
        for name, entry in self.app.conf.beat_schedule.items():
            if self._due[name] <= self._clock():
                if not self._send(entry["task"]):
                    return AFTER_FAILURE_SECONDS
                self._due[name] = self._clock() + entry["schedule"]
        return max(0.0, min(self._due.values()) - self._clock())

    def close(self) -> None:
        """Do nothing: there is nothing to store."""

    def _send(self, task: str) -> bool:
        """Send one message, unless many wait in its queue. Return False if the broker did not take it."""
        try:
            if messages_waiting(task.partition(".")[0]) < BACKLOG_LIMIT:
                self.app.send_task(task, retry=False, ignore_result=True)
        except Exception as error:  # the broker's client raises many types; beat tries again
            if not self._is_failing:
                logger.warning("the broker accepts no message from beat: %s", error, extra={"event": "beat.unsent"})
            self._is_failing = True
            return False
        if self._is_failing:
            logger.info("beat sends what is due", extra={"event": "beat.sends"})
        self._is_failing = False
        return True

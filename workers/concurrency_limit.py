"""Limit how many ids of a task run at once. The others wait without occupying a thread.

A provider may hang for as long as a call may take. If every thread of a process could wait for it, none would be left for
payments, refunds and sweeps.
"""

import functools
import logging
import threading
from collections.abc import Callable

from workers.nudge import publish
from workflows.processing.outcome import Summary, combined

logger = logging.getLogger(__name__)


class TurnQueue:
    """Ids that take turns in a limited number of places. Safe to use from any thread."""

    def __init__(self, *, places: int, most_waiting: int) -> None:
        self._free = places
        self._most_waiting = most_waiting
        self._waiting: dict[str, None] = {}
        self._lock = threading.Lock()

    def enter(self, one: str) -> bool:
        """Return whether ``one`` may run now; if so, call ``leave`` afterwards.

        Otherwise ``one`` is queued, unless ``most_waiting`` ids are queued already. The next sweep nudges those again.
        """
        with self._lock:
            if self._free:
                self._free -= 1
                self._waiting.pop(one, None)
                return True
            if len(self._waiting) < self._most_waiting:
                self._waiting[one] = None
            return False

    def leave(self) -> str | None:
        """Free a place. Return the id that has waited longest, which has to ``enter`` again, or ``None``."""
        with self._lock:
            self._free += 1
            following = next(iter(self._waiting), None)
            if following is not None:
                del self._waiting[following]
            return following


def limit_concurrency(
    line: TurnQueue, *, task: str
) -> Callable[[Callable[[list[str]], list[Summary]]], Callable[[list[str]], Summary]]:
    """Decorate the function of ``task`` so that it gets only ids with a place in ``line``; nudge the others later."""

    def decorate(work: Callable[[list[str]], list[Summary]]) -> Callable[[list[str]], Summary]:
        @functools.wraps(work)
        def in_turn(ids: list[str]) -> Summary:
            said: list[Summary] = []
            for one in filter(line.enter, ids):
                try:
                    said += work([one])
                finally:
                    following = line.leave()
                    if following:
                        _nudge(task, following)
            return combined(said, waiting=len(ids) - len(said))

        return in_turn

    return decorate


def _nudge(task: str, one: str) -> None:
    try:
        publish(task, [one])
    except Exception as error:  # the broker's client raises many types; the sweep nudges this id later
        logger.warning("the nudge of %s for %s was lost: %s", task, one, error, extra={"event": "nudge.lost"})

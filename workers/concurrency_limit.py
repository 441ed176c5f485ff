"""Limit how many ids of a task run at once. The others wait without occupying a thread.

A provider may hang for as long as a call may take. If every thread of a process could wait for it, none would be left for
payments, refunds and sweeps.
"""

import functools
import logging
import threading
from collections.abc import Callable

from workers.nudge import publish
from workflows.processing.task_summary import TextSummary, combine_summaries

logger = logging.getLogger(__name__)


class ConcurrencyLimit:
    """Ids that take turns in a limited number of places. Safe to use from any thread."""

    def __init__(self, *, slots: int, max_waiting: int) -> None:
        self._free_slots = slots
        self._max_waiting = max_waiting
        self._waiting: dict[str, None] = {}
        self._lock = threading.Lock()

    def acquire(self, one: str) -> bool:
        """Return whether ``one`` may run now; if so, call ``release`` afterwards.

        Otherwise ``one`` is queued, unless ``max_waiting`` ids are queued already. The next sweep nudges those again.
        """
        with self._lock:
            if self._free_slots:
                self._free_slots -= 1
                self._waiting.pop(one, None)
                return True
            if len(self._waiting) < self._max_waiting:
                self._waiting[one] = None
            return False

    def release(self) -> str | None:
        """Free a place. Return the id that has waited longest, which has to ``acquire`` again, or ``None``."""
        with self._lock:
            self._free_slots += 1
            following = next(iter(self._waiting), None)
            if following is not None:
                del self._waiting[following]
            return following


def limit_concurrency(
    limit: ConcurrencyLimit, *, task: str
) -> Callable[[Callable[[list[str]], list[TextSummary]]], Callable[[list[str]], TextSummary]]:
    """Decorate the function of ``task`` so that it gets only ids with a place in ``limit``; nudge the others later."""

    def decorate(work: Callable[[list[str]], list[TextSummary]]) -> Callable[[list[str]], TextSummary]:
        @functools.wraps(work)
        def in_turn(ids: list[str]) -> TextSummary:
            summaries: list[TextSummary] = []
            for one in filter(limit.acquire, ids):
                try:
                    summaries += work([one])
                finally:
                    following = limit.release()
                    if following:
                        _nudge(task, following)
            return combine_summaries(summaries, waiting=len(ids) - len(summaries))

        return in_turn

    return decorate


def _nudge(task: str, one: str) -> None:
    try:
        publish(task, [one])
    except Exception as error:  # the broker's client raises many types; the sweep nudges this id later
        logger.warning("the nudge of %s for %s was lost: %s", task, one, error, extra={"event": "nudge.lost"})

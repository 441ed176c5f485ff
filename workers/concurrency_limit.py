"""Limit how many ids of one task a process works on at once. The other ids wait without occupying a thread.

A call to a provider may hang until its timeout. If every thread of a process could wait for such a call, none would be left
for payments, refunds and sweeps.
"""

import functools
import logging
import threading
from collections.abc import Callable

from workers.nudge import publish
from workflows.processing.task_summary import TextSummary, combine_summaries

logger = logging.getLogger(__name__)


class ConcurrencyLimit:
    """A limited number of slots, and the ids that wait for a slot. Safe to use from any thread."""

    def __init__(self, *, slots: int, max_waiting: int) -> None:
        self._free_slots = slots
        self._max_waiting = max_waiting
        self._waiting: dict[str, None] = {}
        self._lock = threading.Lock()

    def acquire(self, row_id: str) -> bool:
        """Take a slot for ``row_id`` and return True, or return False if none is free.

        Call ``release`` after True. After False the id waits, unless ``max_waiting`` ids are waiting already. The next sweep
        nudges it again in that case.
        """
        with self._lock:
            if self._free_slots:
                self._free_slots -= 1
                self._waiting.pop(row_id, None)
                return True
            if len(self._waiting) < self._max_waiting:
                self._waiting[row_id] = None
            return False

    def release(self) -> str | None:
        """Release a slot, and return the id that has waited longest, if any.

        ``acquire`` has to be called again for that id.
        """
        with self._lock:
            self._free_slots += 1
            following = next(iter(self._waiting), None)
            if following is not None:
                del self._waiting[following]
            return following


def limit_concurrency(
    limit: ConcurrencyLimit, *, task: str
) -> Callable[[Callable[[list[str]], list[TextSummary]]], Callable[[list[str]], TextSummary]]:
    """Decorate the function of ``task`` so that it runs only for ids with a slot.

    The other ids are nudged as slots get free.
    """

    def decorate(work: Callable[[list[str]], list[TextSummary]]) -> Callable[[list[str]], TextSummary]:
        @functools.wraps(work)
        def limited(ids: list[str]) -> TextSummary:
            summaries: list[TextSummary] = []
            for row_id in filter(limit.acquire, ids):
                try:
                    summaries += work([row_id])
                finally:
                    following = limit.release()
                    if following:
                        _nudge(task, following)
            return combine_summaries(summaries, waiting=len(ids) - len(summaries))

        return limited

    return decorate


def _nudge(task: str, row_id: str) -> None:
    try:
        publish(task, [row_id])
    except Exception as error:  # the broker's client raises many types; the sweep nudges this id later
        logger.warning("the nudge of %s for %s was lost: %s", task, row_id, error, extra={"event": "nudge.lost"})

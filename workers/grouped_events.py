"""Send the events of tasks in groups, a moment after the first event of a group.

Celery sends buffered events after each round of its loop. At ordinary load every task then sends three messages: received,
started, succeeded. Each message wakes the broker and two threads of Flower, which cost more than the task's own message does.
Flower shows a task up to ``GROUP_SECONDS`` later than it happened, with the times at which it happened.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any

from celery.worker.consumer import Consumer
from vine import promise

GROUP_SECONDS = 0.5
"""How long an event waits for others. A person who watches Flower does not notice it."""

LARGEST_GROUP = 1_000
"""Events in one message, about half a megabyte. A larger group is sent before its time."""


class GroupedEventsConsumer(Consumer):
    """Celery's consumer, which sends the events of tasks in groups."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._group_ends_at = 0.0
        self._begin_group_promise = promise(self._begin_group)

    def create_task_handler(self, promise: Any = promise) -> Callable[[Any], None]:
        """Return the callback for a message. Celery calls this for each new connection and dispatcher."""
        if self.event_dispatcher:
            self.event_dispatcher.buffer_limit = LARGEST_GROUP
        handle: Callable[[Any], None] = super().create_task_handler(promise)
        return handle

    def on_send_event_buffered(self) -> None:
        """Begin a group unless one is open. Celery calls this in any thread, after each event.

        The end of a group is a time and not a flag: if the loop that should have sent it is gone, the next group still begins.
        """
        now = monotonic()
        if now < self._group_ends_at:
            return
        self._group_ends_at = now + GROUP_SECONDS
        self.hub.call_soon(self._begin_group_promise)  # a timer may be started only by the hub's own thread

    def _begin_group(self) -> None:
        self.hub.call_later(GROUP_SECONDS, self._send_group)

    def _send_group(self) -> None:
        self.pool.finish_ended()  # so that the group has the end of each task that has ended
        self._flush_events()

    def shutdown(self) -> None:
        """Send the last group, then close the connections. Celery calls this when all tasks have ended."""
        self._flush_events()
        super().shutdown()

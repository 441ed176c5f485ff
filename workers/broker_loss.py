"""Keep a worker alive when its connection to the broker is lost, and reconnect within seconds of the broker's return.

Celery 5.7.0 and kombu 5.7.0 end the worker if it has a message in hand at that moment: kombu acknowledges the message, or
puts it back, over a new connection that a closed channel can no longer make. That raises ``AttributeError``, which is
not an error of the connection to either of them.
"""

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

RECONNECT = {"interval_start": 1, "interval_step": 1, "interval_max": 5}
"""Seconds between two tries to reach the broker. Celery's own grow to 30, and no sweep runs for so long after its return."""


class ReconnectingConsumer(Consumer):
    """Celery's consumer, which outlives the connection that it consumes from."""

    def ensure_connected(self, conn: Any) -> Any:
        """Return ``conn`` once it is connected, however long the broker is away."""
        conn.ensure_connection = partial(conn.ensure_connection, **RECONNECT)
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Called by Celery when the connection is lost. Give up every message that came over it, then the connection."""
        if self.task_consumer is not None:
            give_up(self.task_consumer.channel)
        super().on_connection_error_after_connected(exc)


def give_up(channel: Any) -> None:
    """Stop a channel from acknowledging, or putting back, what was delivered over it.

    A message that was in hand is delivered again after the visibility timeout. The sweeps find its rows before that.
    """
    channel.do_restore = False
    channel.basic_ack = channel.basic_reject = lambda *_, **__: None

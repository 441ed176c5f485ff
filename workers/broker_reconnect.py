"""Keep a worker alive when its connection to the broker is lost, and reconnect within seconds of the broker's return.

In Celery 5.7.0 and kombu 5.7.0 the worker exits if it has an unacknowledged message when the connection is lost. kombu tries
to acknowledge or restore the message over a new connection, which a closed channel cannot open. The result is an
``AttributeError``, which neither library treats as a connection error.
"""

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

RECONNECT = {"interval_start": 1, "interval_step": 1, "interval_max": 5}
"""Seconds between attempts to connect. Celery's pauses grow to 30 s, during which no sweep would run after an outage."""


class ReconnectingConsumer(Consumer):
    """Celery's consumer, which survives the loss of its connection."""

    def ensure_connected(self, conn: Any) -> Any:
        """Wait until ``conn`` is connected, however long that takes, and return it."""
        conn.ensure_connection = partial(conn.ensure_connection, **RECONNECT)
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Abandon all messages of the lost connection, then reconnect as Celery does. Celery calls this."""
        if self.task_consumer is not None:
            give_up(self.task_consumer.channel)
        self.pool.hand_over()  # messages that were received just before: the connection may be away for long
        super().on_connection_error_after_connected(exc)


def give_up(channel: Any) -> None:
    """Stop a channel from acknowledging or restoring the messages that were delivered over it.

    The broker delivers them again after the visibility timeout. The sweeps find the rows of these messages before that.
    """
    channel.do_restore = False
    channel.basic_ack = channel.basic_reject = lambda *_, **__: None

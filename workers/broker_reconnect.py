"""Keep a worker alive when its connection to the broker is lost, and reconnect within seconds of the broker's return.

In Celery 5.7.0 and kombu 5.7.0 the worker ends if it holds an unacknowledged message at that moment: kombu acknowledges or
restores the message over a new connection, which a closed channel cannot open. The result is an ``AttributeError``, which
neither library treats as an error of the connection.
"""

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

RECONNECT = {"interval_start": 1, "interval_step": 1, "interval_max": 5}
"""Seconds between attempts to connect. Celery's default grows to 30, and no sweep runs for so long after it is back."""


class ReconnectingConsumer(Consumer):
    """Celery's consumer, which survives the loss of its connection."""

    def ensure_connected(self, conn: Any) -> Any:
        """Wait until ``conn`` is connected, however long that takes, and return it."""
        conn.ensure_connection = partial(conn.ensure_connection, **RECONNECT)
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Give up every message that came over the lost connection, then the connection. Celery calls this."""
        if self.task_consumer is not None:
            give_up(self.task_consumer.channel)
        super().on_connection_error_after_connected(exc)


def give_up(channel: Any) -> None:
    """Stop a channel from acknowledging or restoring what was delivered over it.

    An unacknowledged message is delivered again after the visibility timeout. The sweeps find its rows before that.
    """
    channel.do_restore = False
    channel.basic_ack = channel.basic_reject = lambda *_, **__: None

"""Receive nudges without storing them at Valkey while they are processed.

Valkey has no acknowledgements, so kombu emulates them: it stores each message that it has received, waits for the reply, and
removes it with another round trip once it is acknowledged. If the worker dies, the message is delivered again after the
visibility timeout. For a nudge that is worth nothing: the sweep has found its rows long before that. The two round trips,
which wake the broker and the worker's main thread twice each, are therefore left out. Only the number of received messages
is counted, so a worker still takes no more messages than its prefetch limit.

Every other message is stored as usual, and so is a nudge that was delivered before or could not be handled. Brokers with
acknowledgements of their own, such as RabbitMQ, are not affected: theirs have no reply.
"""

from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import QoS as kombu_virtual_QoS

from workers.nudge import DUE, PAYMENTS, REFUNDS

_CountingQoS: Any = kombu_virtual_QoS  # kombu has no type information

UNSTORED = frozenset({PAYMENTS, REFUNDS, DUE})
"""Tasks that only read from rows what is to be done, and whose message a sweep or beat soon repeats."""


class NudgeQoS(kombu_redis.QoS):
    """kombu's record of unacknowledged messages, which keeps nudges in memory only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._unstored: dict[str, Any] = {}

    def append(self, message: Any, delivery_tag: str) -> None:
        """Record a received message. kombu calls this in the consuming thread."""
        if _is_nudge(message.headers or {}):
            self._unstored[delivery_tag] = message
            _CountingQoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message. kombu calls this in any thread."""
        if self._unstored.pop(delivery_tag, None) is None:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        else:
            _CountingQoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message, and put it back into its queue if ``requeue``."""
        self.store(delivery_tag)
        super().reject(delivery_tag, requeue=requeue)  # type: ignore[no-untyped-call]

    def store(self, delivery_tag: str) -> None:
        """Store a nudge after all, so that it is delivered again unless it is acknowledged."""
        if message := self._unstored.pop(delivery_tag, None):
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]


def _is_nudge(headers: dict[str, Any]) -> bool:
    """Return whether a message need not be stored. Its headers may hold anything."""
    task = headers.get("task")
    return isinstance(task, str) and task in UNSTORED and not headers.get("redelivered")


def store_unacknowledged(message: Any) -> None:
    """Make sure that ``message`` is delivered again unless it is acknowledged."""
    qos = getattr(message.channel, "qos", None)
    if isinstance(qos, NudgeQoS):
        qos.store(message.delivery_tag)

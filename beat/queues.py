"""How many messages wait in a queue."""

from workers.queues import messages_waiting

__all__ = ["messages_waiting"]

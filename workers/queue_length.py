"""Count the messages in a queue of the broker."""

from workers.app import app


def messages_waiting(queue: str) -> int:
    """Return the number of messages that wait in a queue.

    Raises the errors of the broker's client, after its timeouts.
    """
    with app.pool.acquire(block=True) as connection:
        return int(connection.default_channel.client.llen(queue))

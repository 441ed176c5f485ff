"""Return how many messages wait in a queue."""

from workers.app import app


def messages_waiting(queue: str) -> int:
    """Return the number, as the broker says. Raises its client's errors, within the application's transport time-outs."""
    with app.pool.acquire(block=True) as connection:
        return int(connection.default_channel.client.llen(queue))

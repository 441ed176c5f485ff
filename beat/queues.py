"""How many messages wait in a queue."""

from workers.app import app


def messages_waiting(queue: str) -> int:
    """Ask the broker. Raises what its client raises, within the time-outs of the application's transport options."""
    with app.pool.acquire(block=True) as connection:
        return int(connection.default_channel.client.llen(queue))

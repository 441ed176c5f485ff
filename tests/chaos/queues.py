"""Read the messages of a queue as kombu stores them in the broker, and wait until they arrive or are gone.

A queue is a list. Messages that a worker has received and not acknowledged are stored in one hash for all queues. If the
worker is frozen or was killed, its messages stay there until the visibility timeout.
"""

import base64
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from redis.asyncio import Redis

from mpac.stack.local_stack import LocalStack
from tests.live_stack import RECOVERY_SECONDS
from tests.polling import eventually

UNACKNOWLEDGED = "unacked"
LOOKS = 10


@asynccontextmanager
async def broker_of(stack: LocalStack) -> AsyncIterator[Redis]:
    """Yield a connection to a stack's broker."""
    client = Redis.from_url(stack.urls.broker, protocol=2)
    try:
        yield client
    finally:
        await client.aclose()


async def command(broker: Redis, *words: str) -> Any:
    """Send a command for which the client library has no method, and return the answer."""
    return await broker.execute_command(*words)  # type: ignore[no-untyped-call]


async def ids_in(broker: Redis, queue: str) -> set[str]:
    """Return the ids in the messages that are waiting in a queue."""
    messages = [json.loads(raw) for raw in await broker.lrange(queue, 0, -1)]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    return {one for (arguments, _keywords, _embed) in bodies for ids in arguments for one in ids}


async def wait_until_queued(broker: Redis, queue: str, ids: Collection[str]) -> None:
    """Wait until each of ``ids`` is in a message of a queue that no worker consumes."""
    wanted = set(ids)
    await eventually(partial(ids_in, broker, queue), until=lambda waiting: waiting >= wanted, within=RECOVERY_SECONDS)


async def wait_until_empty(broker: Redis, queue: str) -> None:
    """Wait until a queue has no waiting message. Unacknowledged messages of killed connections may remain."""
    await eventually(lambda: broker.llen(queue), until=lambda length: length == 0, within=RECOVERY_SECONDS)


async def wait_until_consumed(broker: Redis, queue: str) -> None:
    """Wait until a queue has neither waiting nor unacknowledged messages."""
    nothing = 0

    async def looks_of_nothing() -> int:
        nonlocal nothing
        in_progress = [json.loads(raw) for raw in await broker.hvals(UNACKNOWLEDGED)]
        left = await broker.llen(queue) + sum(routing_key == queue for _, _, routing_key in in_progress)
        nothing = 0 if left else nothing + 1
        return nothing

    # Look several times: while kombu moves a message from the queue to the hash, it is in neither.
    await eventually(looks_of_nothing, until=lambda count: count > LOOKS, within=RECOVERY_SECONDS)

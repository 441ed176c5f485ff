"""What lies in the broker: the messages of a queue as kombu keeps them, and waiting until they are there, or are gone.

A queue is a list; what a worker has in hand and has not acknowledged is in one hash for all queues. A worker that stands
still or was killed keeps its messages there until the visibility time-out.
"""

import base64
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from redis.asyncio import Redis

from mpac.stack.local import LocalStack
from tests.live_stack import RECOVERY_SECONDS
from tests.polling import eventually

IN_HAND = "unacked"
LOOKS = 10


@asynccontextmanager
async def broker_of(stack: LocalStack) -> AsyncIterator[Redis]:
    """The broker, as somebody with its password sees it."""
    client = Redis.from_url(stack.urls.broker, protocol=2)
    try:
        yield client
    finally:
        await client.aclose()


async def command(broker: Redis, *words: str) -> Any:
    """The answer to a command that the client library has no method for."""
    return await broker.execute_command(*words)  # type: ignore[no-untyped-call]


async def ids_in(broker: Redis, queue: str) -> set[str]:
    """The ids in the messages that wait in a queue."""
    messages = [json.loads(raw) for raw in await broker.lrange(queue, 0, -1)]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    return {one for (arguments, _keywords, _embed) in bodies for ids in arguments for one in ids}


async def queued(broker: Redis, queue: str, ids: Collection[str]) -> None:
    """Wait until each of ``ids`` is in a message of a queue that nobody consumes."""
    wanted = set(ids)
    await eventually(partial(ids_in, broker, queue), until=lambda waiting: waiting >= wanted, within=RECOVERY_SECONDS)


async def consumed(broker: Redis, queue: str) -> None:
    """Wait until no message of a queue waits, and nobody has one in hand."""
    nothing = 0

    async def looks_of_nothing() -> int:
        nonlocal nothing
        in_hand = [json.loads(raw) for raw in await broker.hvals(IN_HAND)]
        left = await broker.llen(queue) + sum(routing_key == queue for _, _, routing_key in in_hand)
        nothing = 0 if left else nothing + 1
        return nothing

    # Again and again: between its pop and its note a message is in neither place.
    await eventually(looks_of_nothing, until=lambda count: count > LOOKS, within=RECOVERY_SECONDS)

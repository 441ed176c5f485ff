"""Send nudges over one connection on the event loop, as messages that Celery has composed once.

For each message, ``send_task`` and kombu's producer take 0.6 ms of Python and a thread, because they block: at 100 payments
per second, a third of the API's CPU time. Here a message takes 0.1 ms and no thread.

| what                  | from where                                                                                  |
|-----------------------|---------------------------------------------------------------------------------------------|
| queue, fields, coding | Celery and kombu, which publish one message of each task to a broker in memory              |
| ids                   | replaced in each message                                                                    |
| transport             | ``LPUSH`` to the queue's list, as kombu's transport for Redis (``Settings`` allows no other) |
| answers               | asked for every ``ANSWER_SECONDS``: each would wake this process once more                  |

``tests/integration/workers/test_publishing.py`` compares a message with that of ``send_task``.
"""

import asyncio
import base64
import math
from collections.abc import Sequence
from time import monotonic
from typing import Any

import orjson
from kombu.connection import Connection
from kombu.messaging import Producer
from kombu.utils.uuid import uuid
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

SEND_SECONDS = 10
"""How long sending may take, opening the connection included. As the transport's timeout (``workers.app``)."""

ANSWER_SECONDS = 0.1
"""While no message waits in the queue, the broker answers the first nudge after this time, and no other.

If it refuses nudges that it need not answer, for example because its memory is full, the next answer says so.
"""


class NudgeSender:
    """The connection to the broker over which an API process sends its nudges. It belongs to one event loop."""

    def __init__(self, broker_url: str) -> None:
        # No retries: a nudge may be lost. The pool replaces a connection that was closed while it was idle.
        self._broker = Redis.from_url(
            broker_url,
            protocol=2,
            # ``send`` limits all of it: a timeout of each step would start a task of its own
            socket_connect_timeout=None,
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
        )
        self._messages: dict[str, PreparedMessage] = {}
        self._backlog = 0
        self._answered_at = -math.inf

    def prepare(self, *tasks: str) -> None:
        """Compose the messages of ``tasks`` now. It imports Celery, which takes a second."""
        for task in tasks:
            self._messages[task] = PreparedMessage(task)

    async def send(self, task: str, ids: Sequence[str], *, request_ids: Sequence[str]) -> int:
        """Send one nudge, and return how many messages waited before the last one that was answered.

        Raises the errors of the broker's client, and ``TimeoutError``.
        """
        message = self._messages[task]
        content = message.render(ids, request_ids)
        async with asyncio.timeout(SEND_SECONDS):
            if self._backlog or monotonic() >= self._answered_at + ANSWER_SECONDS:
                self._backlog = await self._broker.lpush(message.queue, content) - 1
                self._answered_at = monotonic()
            else:
                await self._send_without_answer("LPUSH", message.queue, content)
        return self._backlog

    async def _send_without_answer(self, *command: str | bytes) -> None:
        """Send ``command`` so that the broker does not answer it."""
        pool = self._broker.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(connection.pack_commands([("CLIENT", "REPLY", "SKIP"), command]))
        finally:
            await pool.release(connection)

    async def close(self) -> None:
        """Close the connection."""
        await self._broker.aclose()


class PreparedMessage:
    """The message of one task, in which each rendering replaces the ids."""

    def __init__(self, task: str) -> None:
        # Imported on demand, so that rendering the OpenAPI document needs no broker.
        from workers.app import app  # noqa: PLC0415

        self.queue: str = app.amqp.router.route({}, task)["queue"].name
        with Connection("memory://") as connection:
            channel = connection.channel()
            producer = Producer(channel)
            app.send_task(task, args=([],), argsrepr="", retry=False, ignore_result=True, producer=producer)
            self._message: dict[str, Any] = channel.basic_get(self.queue, no_ack=True).serializable()
        _, self._keywords, self._embedded = orjson.loads(base64.b64decode(self._message["body"]))

    def render(self, ids: Sequence[str], request_ids: Sequence[str]) -> bytes:
        """Return the message that names ``ids``, as kombu stores it in the list of the queue."""
        message = self._message
        task_id = uuid()
        shown = ", ".join(ids)  # all ids: Celery cuts its own text off after a thousand characters
        body = orjson.dumps([[ids], self._keywords, self._embedded])
        headers = {"id": task_id, "root_id": task_id, "argsrepr": shown, "request_ids": request_ids}
        properties = {"correlation_id": task_id, "argsrepr": shown, "delivery_tag": uuid()}
        return orjson.dumps(
            {
                **message,
                "body": base64.b64encode(body).decode(),
                "headers": {**message["headers"], **headers},
                "properties": {**message["properties"], **properties},
            }
        )

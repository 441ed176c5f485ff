"""Send signed webhooks about final outcomes, best effort.

An event is sent only after its outcome is stored. It is tried a few times and then dropped: real providers lose webhooks too,
and the product must cope with that. Nothing is sent without a URL.
"""

import asyncio
import time
from hashlib import blake2b
from typing import Any

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from sandbox import timestamps
from sandbox.clock import Clock
from sandbox.operations import Operation
from sandbox.responses import serialize_operation
from sandbox.signature import sign, signing_key
from sandbox.sqlite_storage import SqliteStorage, StorageFailed

PAUSES_SECONDS = (0.2, 1.0, 5.0)  # between attempts; four attempts in all
TRY_SECONDS = 5.0  # timeout of an attempt
MAX_CONNECTIONS = 100
MAX_UNDELIVERED = 10_000  # further events are dropped, so that a dead receiver does not fill the memory
SUCCESSES = range(200, 300)


class Webhooks:
    """The webhook settings, and the events in flight."""

    def __init__(self, storage: SqliteStorage, clock: Clock, *, url: str, secret: str) -> None:
        self.url = url
        self.enabled = True
        self.duplicate = 0  # how many more times each event is sent
        self.delay_ms = 0
        self.delivered = self.failed = self.dropped = 0
        self._store = storage
        self._clock = clock
        self._key = signing_key(secret)
        self._session: ClientSession | None = None
        self._in_flight: set[asyncio.Task[None]] = set()

    def announce(self, operation: Operation) -> None:
        """Send the event of an operation's outcome in the background, after the outcome was stored."""
        if not self.url or not self.enabled:
            return
        if len(self._in_flight) >= MAX_UNDELIVERED:
            self.dropped += 1
            return
        task = asyncio.get_running_loop().create_task(
            self._deliver(event_of(operation, at=self._clock.now()), url=self.url)
        )
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    def describe(self) -> dict[str, Any]:
        """Return the settings, and the counts since the start."""
        return {
            "url": self.url,
            "enabled": self.enabled,
            "duplicate": self.duplicate,
            "delay_ms": self.delay_ms,
            "delivered": self.delivered,
            "failed": self.failed,
            "dropped": self.dropped,
            "under_way": len(self._in_flight),
        }

    async def close(self) -> None:
        """Drop all events in flight."""
        for task in self._in_flight:
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _deliver(self, event: dict[str, Any], *, url: str) -> None:
        try:
            await self._store.durable()
        except StorageFailed:
            return  # it was rolled back
        await asyncio.sleep(self.delay_ms / 1_000)
        body = orjson.dumps(event)
        for _copy in range(1 + self.duplicate):
            if await self._send_until_taken(url, body, event_id=event["event_id"]):
                self.delivered += 1
            else:
                self.failed += 1

    async def _send_until_taken(self, url: str, body: bytes, *, event_id: str) -> bool:
        for pause_seconds in (*PAUSES_SECONDS, None):
            if await self._send(url, body, event_id=event_id):
                return True
            if pause_seconds is not None:
                await asyncio.sleep(pause_seconds)
        return False

    async def _send(self, url: str, body: bytes, *, event_id: str) -> bool:
        if self._session is None:
            limits = ClientTimeout(total=TRY_SECONDS)
            self._session = ClientSession(timeout=limits, connector=TCPConnector(limit=MAX_CONNECTIONS))
        timestamp = int(time.time())  # the machine's time of this attempt, because receivers refuse old timestamps
        headers = {
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._key, body, event_id=event_id, timestamp=timestamp),
        }
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status in SUCCESSES
        except (ClientError, TimeoutError, ValueError):  # ValueError: the URL is invalid
            return False


def event_of(operation: Operation, *, at: int) -> dict[str, Any]:
    """Return the event of an outcome.

    The id of the event is derived from the outcome, so that a repeated event has the same id.
    """
    name = f"{operation.family}.{operation.status}"
    event_id = "evt_" + blake2b(f"{name}:{operation.provider_reference}".encode(), digest_size=12).hexdigest()
    return {
        "event_id": event_id,
        "type": name,
        "created_at": timestamps.to_text(at),
        "data": serialize_operation(operation),
    }

"""Limit the requests in flight and per minute, and refuse them during maintenance.

| limit         | counts                                 | answer beyond it                                |
|---------------|----------------------------------------|-------------------------------------------------|
| in flight     | this process, except requests that wait for their client | 503 with ``Retry-After``        |
| waiting       | this process (`wait=`, streams)        | the same; a higher limit, because they cost little|
| per minute    | all processes, per merchant and overall| 429 with ``Retry-After``; known callers only      |
| maintenance   | all processes                          | 503 with ``Retry-After`` and the operator's text|

Counts per minute are held in this process and exchanged with the broker twice a second, so that no request waits for it;
while the broker is unavailable each process counts alone. Unknown callers are counted elsewhere (``api.failed_auth_limit``).
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.types import Scope

from workflows.errors import RateLimitExceeded, ServiceUnavailable
from workflows.ops.maintenance import Maintenance, read_maintenance
from workflows.settings import Settings

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

EXCHANGE_SECONDS = 0.5  # how far processes may lag behind each other; at 10,000/min that is 83 requests
WINDOW_SECONDS = 60
RETRY_AFTER_OVERLOAD_SECONDS = 1
RETRY_AFTER_MAINTENANCE_SECONDS = 30
OVERALL = "*"
ALWAYS_SERVED = ("/health/", "/metrics")
"""Paths that are served during maintenance and overload, too: operators see there what is wrong."""


CAN_WAIT = re.compile(r"/api/v1/payments/[^/]+(/stream)?")
"""The only paths that wait for a payment to change. On any other path `wait=` has no effect."""


def _may_wait(scope: Scope) -> bool:
    found = CAN_WAIT.fullmatch(scope["path"]) if scope["method"] == "GET" else None
    return found is not None and (found[1] is not None or b"wait=" in scope["query_string"])


class Admission:
    """The place of one request among those in flight.

    It is released while the request waits for its own client.

    Otherwise a few clients that send bodies byte by byte or do not read their answers would take all places.
    """

    __slots__ = ("_in_flight", "_is_waiting", "_maximum")

    def __init__(self, in_flight: dict[bool, int], maximum: dict[bool, int], *, is_waiting: bool) -> None:
        self._in_flight = in_flight
        self._maximum = maximum
        self._is_waiting = is_waiting

    @property
    def is_full(self) -> bool:
        """Whether all places are taken."""
        return self._in_flight[self._is_waiting] >= self._maximum[self._is_waiting]

    @property
    def is_over_limit(self) -> bool:
        """Whether more places are taken than allowed: others entered while this request waited."""
        return self._in_flight[self._is_waiting] > self._maximum[self._is_waiting]

    def acquire(self) -> None:
        """Take a place, even if all are taken."""
        self._in_flight[self._is_waiting] += 1

    def release(self) -> None:
        """Release the place."""
        self._in_flight[self._is_waiting] -= 1

    async def wait_without_slot(self, client: Awaitable[Answer]) -> Answer:
        """Wait for ``client`` without a place."""
        self.release()
        try:
            return await client
        finally:
            self.acquire()


def overloaded_error() -> ServiceUnavailable:
    """Return the error for a request that finds all places taken."""
    message = "The service is overloaded; retry shortly"
    return ServiceUnavailable(message=message, retry_after_seconds=RETRY_AFTER_OVERLOAD_SECONDS)


class Limits:
    """The limits of one API process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._in_flight = {False: 0, True: 0}  # by whether the request only waits for a payment to change
        self._maximum = {False: settings.max_requests_in_flight, True: settings.max_waiting_requests}
        self._window = 0
        self._local_counts: Counter[str] = Counter()  # counted here since the window began
        self._sent: Counter[str] = Counter()  # of these, already sent to the broker
        self._remote_counts: Counter[str] = Counter()  # counted by other processes, as of the last exchange
        self._maintenance = Maintenance(is_on=False, message=None)
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def admit(self, scope: Scope) -> Iterator[Admission]:
        """Count one request in and out. Raises ``ServiceUnavailable`` in overload and in maintenance."""
        admission = Admission(self._in_flight, self._maximum, is_waiting=_may_wait(scope))
        is_always_served = scope["path"].startswith(ALWAYS_SERVED)
        if not is_always_served:
            if self._maintenance.is_on and not scope["path"].startswith("/api/v1/ops/"):
                message = self._maintenance.message or "The service is closed for maintenance; retry later"
                raise ServiceUnavailable(message=message, retry_after_seconds=RETRY_AFTER_MAINTENANCE_SECONDS)
            if admission.is_full:
                raise overloaded_error()
        admission.acquire()
        try:
            yield admission
        finally:
            admission.release()

    def count(self, merchant_id: str) -> None:
        """Count a request of a known caller. Raises ``RateLimitExceeded``."""
        limits = ((merchant_id, self._settings.rate_limit_per_merchant), (OVERALL, self._settings.rate_limit_overall))
        self._start_new_window()
        for name, limit in limits:
            if limit and name and self._local_counts[name] + self._remote_counts[name] >= limit:
                raise RateLimitExceeded(retry_after_seconds=WINDOW_SECONDS - int(time.time() % WINDOW_SECONDS))  # noqa: TID251 - a window of the wall clock that all processes share
        for name, limit in limits:
            if limit and name:
                self._local_counts[name] += 1

    def start(self) -> None:
        """Start the background exchange of counts and the check of the maintenance switch."""
        self._task = asyncio.create_task(self._exchange_periodically())

    async def stop(self) -> None:
        """Stop the background exchange."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _start_new_window(self) -> None:
        window = int(time.time() // WINDOW_SECONDS)  # noqa: TID251 - see count
        if window != self._window:
            self._window = window
            for counter in (self._local_counts, self._sent, self._remote_counts):
                counter.clear()

    async def _exchange_periodically(self) -> None:
        broker = Redis.from_url(
            self._settings.broker_url.get_secret_value(), socket_timeout=1, socket_connect_timeout=1, protocol=2
        )
        async with broker:
            while True:
                try:
                    with suppress(
                        ServiceUnavailable
                    ):  # the database is unavailable: the last known state of the switch stays in force
                        self._maintenance = await read_maintenance()
                    await self._exchange(broker)
                except (RedisError, OSError) as error:
                    logger.debug(
                        "the broker is unavailable, so this process counts rate limits alone: %s", type(error).__name__
                    )
                except (
                    Exception
                ):  # the loop must survive: without it there is no maintenance and no shared limit until a restart
                    logger.exception(
                        "cannot exchange rate limits or read the maintenance switch; retrying",
                        extra={"event": "limits.exchange_failed"},
                    )
                await asyncio.sleep(EXCHANGE_SECONDS)

    async def _exchange(self, broker: "Redis") -> None:
        self._start_new_window()
        window, news = self._window, self._local_counts - self._sent
        if not news:
            return
        async with broker.pipeline(transaction=False) as pipe:
            for name, count in news.items():
                key = f"mpac:rate:{window}:{name}"
                pipe.incrby(key, count)
                pipe.expire(key, 2 * WINDOW_SECONDS)
            totals = (await pipe.execute())[::2]
        if window == self._window:
            self._sent.update(news)
            for name, total in zip(news, totals, strict=True):
                self._remote_counts[name] = max(0, total - self._sent[name])

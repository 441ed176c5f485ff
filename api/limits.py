"""Limit the requests in flight and per minute, and refuse requests during maintenance.

| limit       | what it counts                                                        | answer above the limit          |
|-------------|-----------------------------------------------------------------------|---------------------------------|
| in flight   | requests of this process, except while they wait for their client     | 503 with ``Retry-After``        |
| waiting     | requests of this process that wait for a payment to change            | 503 with ``Retry-After``        |
| per minute  | requests of known callers in all processes, per merchant and in all   | 429 with ``Retry-After``        |
| maintenance | nothing: an operator's switch for all processes                       | 503 with the operator's message |

Requests with `wait=` and streams have a separate, higher limit, because they cost little while they wait. Each process counts
in memory and exchanges its counts with the broker twice a second, so that no request waits for the broker. While the broker is
unavailable, each process counts alone. ``api.failed_auth_limit`` counts unknown callers.
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

EXCHANGE_SECONDS = 0.5  # the counts of other processes are at most this old; at 10,000/min that is 83 requests
WINDOW_SECONDS = 60
RETRY_AFTER_OVERLOAD_SECONDS = 1
RETRY_AFTER_MAINTENANCE_SECONDS = 30
OVERALL = "*"
ALWAYS_SERVED = ("/health/", "/metrics")
"""Paths that are served even during maintenance and overload, because operators need them to see what is wrong."""


CAN_WAIT = re.compile(r"/api/v1/payments/[^/]+(/stream)?")
"""The only paths that wait for a payment to change. On any other path `wait=` has no effect."""

MAY_NAME_WAIT = re.compile(rb"wait=|%")
"""Matches a query that may name ``wait``, also in escapes such as ``%77ait``. A slot for waiting is not scarce."""


def _may_wait(scope: Scope) -> bool:
    found = CAN_WAIT.fullmatch(scope["path"]) if scope["method"] == "GET" else None
    return found is not None and (found[1] is not None or MAY_NAME_WAIT.search(scope["query_string"]) is not None)


class Admission:
    """The slot of one request among those in flight.

    The slot is released while the request waits for its client. Otherwise a few clients that send bodies byte by byte, or do
    not read their responses, would occupy all slots.
    """

    __slots__ = ("_in_flight", "_is_waiting", "_maximum")

    def __init__(self, in_flight: dict[bool, int], maximum: dict[bool, int], *, is_waiting: bool) -> None:
        self._in_flight = in_flight
        self._maximum = maximum
        self._is_waiting = is_waiting

    @property
    def is_full(self) -> bool:
        """Whether all slots are taken."""
        return self._in_flight[self._is_waiting] >= self._maximum[self._is_waiting]

    @property
    def is_over_limit(self) -> bool:
        """Whether more slots are taken than allowed, because other requests took slots while this one waited."""
        return self._in_flight[self._is_waiting] > self._maximum[self._is_waiting]

    def acquire(self) -> None:
        """Count this request as in flight, even if that exceeds the limit."""
        self._in_flight[self._is_waiting] += 1

    def release(self) -> None:
        """Release the slot."""
        self._in_flight[self._is_waiting] -= 1

    async def wait_without_slot(self, client: Awaitable[Answer]) -> Answer:
        """Release the slot, await ``client``, and take a slot again, even if all are taken."""
        self.release()
        try:
            return await client
        finally:
            self.acquire()


def overloaded_error() -> ServiceUnavailable:
    """Return the error for a request that finds no free slot."""
    message = "The service is overloaded; retry shortly"
    return ServiceUnavailable(message=message, retry_after_seconds=RETRY_AFTER_OVERLOAD_SECONDS)


class Limits:
    """The limits of one API process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._in_flight = {False: 0, True: 0}  # True: requests that only wait for a payment to change
        self._maximum = {False: settings.max_requests_in_flight, True: settings.max_waiting_requests}
        self._window = 0
        self._local_counts: Counter[str] = Counter()  # counted by this process in the current minute
        self._sent: Counter[str] = Counter()  # as much of ``_local_counts`` as was sent to the broker
        self._remote_counts: Counter[str] = Counter()  # counted by other processes until the last exchange
        self._maintenance = Maintenance(is_on=False, message=None)
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def admit(self, scope: Scope) -> Iterator[Admission]:
        """Take a slot for a request, and release it at the end.

        Raises ``ServiceUnavailable`` during an overload or maintenance.
        """
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
        """Count a request of a known caller. Raises ``RateLimitExceeded`` above a limit per minute."""
        limits = ((merchant_id, self._settings.rate_limit_per_merchant), (OVERALL, self._settings.rate_limit_overall))
        self._start_new_window()
        for name, limit in limits:
            if limit and name and self._local_counts[name] + self._remote_counts[name] >= limit:
                raise RateLimitExceeded(retry_after_seconds=WINDOW_SECONDS - int(time.time() % WINDOW_SECONDS))  # noqa: TID251 - a window of the wall clock that all processes share
        for name, limit in limits:
            if limit and name:
                self._local_counts[name] += 1

    def start(self) -> None:
        """Start the background task that exchanges counts and reads the maintenance switch."""
        self._task = asyncio.create_task(self._exchange_periodically())

    async def stop(self) -> None:
        """Stop the background task."""
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
                    with suppress(ServiceUnavailable):  # no database: the last known state of the switch stays in force
                        self._maintenance = await read_maintenance()
                    await self._exchange(broker)
                except (RedisError, OSError) as error:
                    logger.debug(
                        "the broker is unavailable, so this process counts rate limits alone: %s", type(error).__name__
                    )
                except Exception:  # the task must survive; without it, switch and shared limits fail until a restart
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

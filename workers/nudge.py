"""Nudge workers: publish the ids of rows that are due. Nudges are best effort, and no request waits for them.

In the API, a task of the event loop publishes (``Nudger``). Ids of concurrent requests share a message: at ordinary load each
id is sent at once, at peak load up to a hundred share a message. The sweep finds every row whose nudge is lost. Beat and the
workers send fewer nudges, and wait for each (``publish``).
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from kombu.exceptions import OperationalError

from workflows.errors import ServiceUnavailable

logger = logging.getLogger(__name__)

MAX_IDS = 100
"""Ids per message, as many as one claim takes."""

BUSY_RATE, MAX_SPACINGS = 900, 3
"""The pause between messages is one spacing at ``BUSY_RATE`` ids per second, and grows with the square of the rate, up to
``MAX_SPACINGS`` spacings.

A message costs its publisher, its worker and Flower some 0.5 ms of CPU time together, however many ids it carries. At 500/s a
pause of 6 ms makes three ids share a message. At 200/s and below there is none: a payment would wait for nothing.
"""

BACKLOG = 4
"""Messages in the queue at which the pause is one spacing, too. The workers are then behind, and fuller messages let them
catch up: without it, 100 single ids per second on a busy machine (load average 10) waited in the queue for one second.
"""

RATE_SECONDS = 0.5
"""The time over which the rate is averaged; older ids count ever less."""

SHORTEST_PAUSE_SECONDS = 0.001
"""A shorter pause is left out: waking up takes as long."""

MAX_WAITING = 50_000
"""Ids kept in memory while the broker is unavailable (about 5 MB). The oldest are dropped; the sweep finds their rows."""

PAUSE_SECONDS = 1.0
"""Pause between two attempts while the broker is unavailable."""


PAYMENTS, REFUNDS, SETTLEMENTS = "payments.process", "refunds.process", "settlements.close"
RECONCILE = "settlements.reconcile"
DUE = "sweeps.due"
"""The tasks that are nudged, by the API, by a sweep or by beat."""


class ArrivalRate:
    """The present rate of ids per second, as an average that decays exponentially."""

    def __init__(self) -> None:
        self._per_second = 0.0
        self._measured_at = monotonic()

    def add(self, count: int) -> float:
        """Count ids that have just arrived, and return the rate."""
        now = monotonic()
        self._per_second *= math.exp((self._measured_at - now) / RATE_SECONDS)
        self._per_second += count / RATE_SECONDS
        self._measured_at = now
        return self._per_second


def pause_seconds(rate: float, backlog: int, *, spacing: float) -> float:
    """Return the pause after a message at this rate of ids per second, behind ``backlog`` other messages."""
    pause = spacing * min(MAX_SPACINGS, max((rate / BUSY_RATE) ** 2, backlog / BACKLOG))
    return pause if pause >= SHORTEST_PAUSE_SECONDS else 0.0


class Sender(Protocol):
    """The methods of ``workers.nudge_sender.NudgeSender`` that a ``Nudger`` calls."""

    def prepare(self, *tasks: str) -> None:
        """Prepare for nudges of ``tasks``."""

    async def send(self, task: str, ids: Sequence[str], *, request_ids: Sequence[str]) -> int:
        """Send one nudge, and return how many messages waited before it or shortly before."""

    async def close(self) -> None:
        """Release everything."""


class Nudger:
    """A task of the event loop that sends nudges, and the ids that wait to be sent."""

    def __init__(self, sender: Sender, *, spacing_seconds: float) -> None:
        self._sender = sender
        self._spacing = spacing_seconds
        self._waiting: dict[str, deque[tuple[str, str]]] = {
            PAYMENTS: deque(maxlen=MAX_WAITING),
            REFUNDS: deque(maxlen=MAX_WAITING),
        }
        self._arrived = asyncio.Event()
        self._rate = ArrivalRate()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task. Call this once, on the event loop."""
        self._sender.prepare(*self._waiting)
        self._task = asyncio.create_task(self._send_all())

    async def stop(self, *, timeout_seconds: float = 2.0) -> None:
        """Send what is waiting, within ``timeout_seconds``, and stop the task."""
        self._is_stopping = True
        self._arrived.set()
        if self._task:
            await asyncio.wait({self._task}, timeout=timeout_seconds)
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._sender.close()

    def payment(self, payment_id: str, *, request_id: str) -> None:
        """Queue a nudge for this payment. Return at once."""
        self._put(PAYMENTS, payment_id, request_id)

    def refund(self, refund_id: str, *, request_id: str) -> None:
        """Queue a nudge for this refund. Return at once."""
        self._put(REFUNDS, refund_id, request_id)

    def _put(self, task: str, row_id: str, request_id: str) -> None:
        self._waiting[task].append((row_id, request_id))
        self._arrived.set()

    async def _send_all(self) -> None:
        while not (self._is_stopping and not any(self._waiting.values())):
            await self._arrived.wait()
            self._arrived.clear()
            while any(self._waiting.values()):
                most = max(len(waiting) for waiting in self._waiting.values())
                sent = backlog = 0
                for task, waiting in self._waiting.items():
                    if not waiting:
                        continue
                    sent += min(len(waiting), MAX_IDS)
                    if (before := await self._send_batch(task, waiting)) is not None:
                        backlog = max(backlog, before)
                    elif self._is_stopping:
                        return
                    else:
                        await asyncio.sleep(PAUSE_SECONDS)
                pause = pause_seconds(self._rate.add(sent), backlog, spacing=self._spacing)
                if pause and most <= MAX_IDS and not self._is_stopping:  # with more, the next message is full already
                    # More ids arrive during the pause, so that messages are few and full at peak.
                    await asyncio.sleep(pause)

    async def _send_batch(self, task: str, waiting: deque[tuple[str, str]]) -> int | None:
        """Send up to ``MAX_IDS`` of ``waiting``, and return how many messages wait before them.

        If the broker fails, drop them and return ``None``.
        """
        batch = [waiting.popleft() for _ in range(min(MAX_IDS, len(waiting)))]
        ids, request_ids = [row_id for row_id, _ in batch], [request_id for _, request_id in batch]
        try:
            return await self._sender.send(task, ids, request_ids=request_ids)
        except Exception as error:
            # The broker's client raises many types, and this task has to go on: the next message may succeed.
            lost = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            extra = {"event": "nudge.lost"}
            logger.warning("a nudge of %s for %d rows was lost: %s", task, len(batch), lost, extra=extra)
            return None


def publish(task: str, ids: list[str]) -> None:
    """Publish one nudge, and return once the broker has accepted it.

    Raises the errors of the broker's client.
    """
    shown = ", ".join(map(str, ids))  # all ids: Celery cuts its own text off after a thousand characters
    headers: dict[str, list[str]] = {"request_ids": []}
    _app().send_task(task, args=(ids,), argsrepr=shown, headers=headers, retry=False, ignore_result=True)


def _app() -> Any:
    """Return the Celery application.

    The application is imported on demand, so that rendering the OpenAPI document needs no broker.
    """
    from workers.app import app  # noqa: PLC0415

    return app


async def publish_task(name: str, arguments: list[Any]) -> None:
    """Publish a task again for an operator. Raises ``ServiceUnavailable`` if the broker is unavailable."""
    positional, keywords = arguments if _is_call(arguments) else (arguments, {})
    try:
        await asyncio.to_thread(_app().send_task, name, args=positional, kwargs=keywords, retry=False)
    except OperationalError as error:
        raise ServiceUnavailable(retry_after_seconds=5) from error


def _is_call(arguments: list[Any]) -> bool:
    """Return whether ``arguments`` is a pair of positional and keyword arguments.

    Otherwise they are positional arguments alone.
    """
    return len(arguments) == 2 and isinstance(arguments[1], dict)  # noqa: PLR2004 - a pair

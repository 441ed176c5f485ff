"""Nudge workers: publish the ids of rows that are due. Nudges are best effort, and no request waits for them.

A thread publishes, because publishing blocks and may hang while the broker is unavailable. Ids of concurrent requests share a
message: at ordinary load each id is sent at once, at peak load up to a hundred share a message. The sweep finds every row
whose nudge is lost.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Any

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


def pause_seconds(rate: float, *, spacing: float) -> float:
    """Return the pause after a message at this rate of ids per second."""
    pause = spacing * min(MAX_SPACINGS, (rate / BUSY_RATE) ** 2)
    return pause if pause >= SHORTEST_PAUSE_SECONDS else 0.0


class Nudger:
    """A thread that publishes nudges, and the ids that wait to be published."""

    def __init__(self, *, spacing_seconds: float) -> None:
        self._spacing = spacing_seconds
        self._waiting: dict[str, deque[tuple[str, str]]] = {
            PAYMENTS: deque(maxlen=MAX_WAITING),
            REFUNDS: deque(maxlen=MAX_WAITING),
        }
        self._arrived = threading.Event()
        self._rate = ArrivalRate()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._publish_all, name="nudge", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 2.0) -> None:
        """Publish what is waiting, within ``timeout_seconds``, and stop the thread."""
        self._is_stopping = True
        self._arrived.set()
        self._thread.join(timeout_seconds)

    def payment(self, payment_id: str, *, request_id: str) -> None:
        """Queue a nudge for this payment. Return at once."""
        self._put(PAYMENTS, payment_id, request_id)

    def refund(self, refund_id: str, *, request_id: str) -> None:
        """Queue a nudge for this refund. Return at once."""
        self._put(REFUNDS, refund_id, request_id)

    def _put(self, task: str, row_id: str, request_id: str) -> None:
        self._waiting[task].append((row_id, request_id))
        if not self._arrived.is_set():
            self._arrived.set()

    def _publish_all(self) -> None:
        _app()  # importing Celery takes a third of a second: do it now, not during the first payment
        while not (self._is_stopping and not any(self._waiting.values())):
            self._arrived.wait()
            self._arrived.clear()
            while any(self._waiting.values()):
                most = max(len(waiting) for waiting in self._waiting.values())
                sent = 0
                for task, waiting in self._waiting.items():
                    sent += min(len(waiting), MAX_IDS)
                    if waiting and not self._publish_batch(task, waiting):
                        if self._is_stopping:
                            return
                        time.sleep(PAUSE_SECONDS)
                pause = pause_seconds(self._rate.add(sent), spacing=self._spacing)
                if pause and most <= MAX_IDS and not self._is_stopping:  # with more, the next message is full already
                    # More ids arrive during the pause, so that messages are few and full at peak.
                    time.sleep(pause)

    def _publish_batch(self, task: str, waiting: deque[tuple[str, str]]) -> bool:
        """Publish up to ``MAX_IDS`` of ``waiting`` and return True.

        If the broker fails, drop them and return False.
        """
        batch = [waiting.popleft() for _ in range(min(MAX_IDS, len(waiting)))]
        try:
            publish(task, [row_id for row_id, _ in batch], request_ids=[request for _, request in batch])
        except Exception as error:
            # The broker's client raises many types, and this thread has to go on: the next message may succeed.
            logger.warning(
                "a nudge of %s for %d rows was lost: %s", task, len(batch), error, extra={"event": "nudge.lost"}
            )
            return False
        return True


def publish(task: str, ids: list[str], *, request_ids: Iterable[str] = ()) -> None:
    """Publish one nudge, and return once the broker has accepted it.

    Raises the errors of the broker's client.
    """
    shown = ", ".join(map(str, ids))  # all ids: Celery cuts its own text off after a thousand characters
    headers = {"request_ids": list(request_ids)}
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

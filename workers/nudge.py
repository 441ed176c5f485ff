"""Nudge: tell a worker to look at these rows. Best effort, never waited for.

A thread of its own publishes, because publishing blocks and may hang while the broker is away: no request ever does. The
ids of requests in flight go together: at low load each at once and by itself, at peak a hundred to a message. Whatever
is lost here is found by the sweep.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from kombu.exceptions import OperationalError

from workflows.errors import ServiceUnavailable

logger = logging.getLogger(__name__)

MAX_IDS = 100
"""Ids per message: what one claim takes at a time."""

MAX_WAITING = 50_000
"""Ids kept while the broker is away (about 5 MB); the sweep finds the rest."""

PAUSE_SECONDS = 1.0
"""Between two tries while the broker is away."""


class Nudger:
    """Publishes nudges from a thread of its own."""

    def __init__(self, *, spacing_seconds: float) -> None:
        self._spacing = spacing_seconds
        self._waiting: deque[tuple[str, str]] = deque(maxlen=MAX_WAITING)
        self._arrived = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._publish_all, name="nudge", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 2.0) -> None:
        """Publish what is waiting, if that is possible in time, and end."""
        self._is_stopping = True
        self._arrived.set()
        self._thread.join(timeout_seconds)

    def payment(self, payment_id: str, *, request_id: str) -> None:
        """Have this payment looked at soon. Returns at once."""
        self._waiting.append((payment_id, request_id))
        if not self._arrived.is_set():
            self._arrived.set()

    def _publish_all(self) -> None:
        _tasks()  # Celery's import takes a third of a second: here, beside the start, not within the first payment
        while not (self._is_stopping and not self._waiting):
            self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(MAX_IDS, len(self._waiting)))]
                try:
                    publish_payments(
                        [payment_id for payment_id, _ in batch], request_ids=[request for _, request in batch]
                    )
                except Exception as error:
                    # The sweep will find these; the next ones may have better luck.
                    logger.warning("a nudge for %d payments was lost: %s", len(batch), error)
                    if self._is_stopping:
                        return
                    time.sleep(PAUSE_SECONDS)
                # Meanwhile more ids gather: this is what makes messages few and full at peak.
                time.sleep(self._spacing)


def publish_payments(payment_ids: list[str], *, request_ids: Iterable[str] = ()) -> None:
    """Publish one nudge now and wait for the broker to take it. Raises what the broker connection raises."""
    headers: dict[str, Any] = {"request_ids": list(request_ids)}
    _tasks().process.apply_async((payment_ids,), headers=headers, retry=False)


def _tasks() -> Any:
    """The tasks. Imported when first needed: an OpenAPI document, say, can be made without a broker's address."""
    from workers import payments  # noqa: PLC0415

    return payments


async def publish_task(name: str, arguments: list[Any]) -> None:
    """Publish any task again, for an operator. Raises ``ServiceUnavailable`` where the broker is away."""
    from workers.app import app  # noqa: PLC0415 - see publish_payments

    positional, keywords = arguments if _is_call(arguments) else (arguments, {})
    try:
        await asyncio.to_thread(app.send_task, name, args=positional, kwargs=keywords, retry=False)
    except OperationalError as error:
        raise ServiceUnavailable(retry_after_seconds=5) from error


def _is_call(arguments: list[Any]) -> bool:
    """Whether these are the positional and keyword arguments of a buried message, rather than positional ones alone."""
    return len(arguments) == 2 and isinstance(arguments[1], dict)  # noqa: PLR2004 - a pair

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

IDS_PER_SPACING, MAX_SPACING = 8, 3
"""For each so many ids that wait, messages are spaced once more as wide, up to the widest: each costs its publisher, its
worker and Flower 1.5 ms together, whatever it carries, and 40 ms more are nothing to a payment at such a load."""

MAX_WAITING = 50_000
"""Ids kept while the broker is away (about 5 MB); the sweep finds the rest."""

PAUSE_SECONDS = 1.0
"""Between two tries while the broker is away."""


PAYMENTS, REFUNDS, SETTLEMENTS = "payments.process", "refunds.process", "settlements.close"
RECONCILE = "settlements.reconcile"
"""The tasks that are nudged."""


class Nudger:
    """Publishes nudges from a thread of its own."""

    def __init__(self, *, spacing_seconds: float) -> None:
        self._spacing = spacing_seconds
        self._waiting: dict[str, deque[tuple[str, str]]] = {
            PAYMENTS: deque(maxlen=MAX_WAITING),
            REFUNDS: deque(maxlen=MAX_WAITING),
        }
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
        self._put(PAYMENTS, payment_id, request_id)

    def refund(self, refund_id: str, *, request_id: str) -> None:
        """Have this refund looked at soon. Returns at once."""
        self._put(REFUNDS, refund_id, request_id)

    def _put(self, task: str, row_id: str, request_id: str) -> None:
        self._waiting[task].append((row_id, request_id))
        if not self._arrived.is_set():
            self._arrived.set()

    def _publish_all(self) -> None:
        _app()  # Celery's import takes a third of a second: here, beside the start, not within the first payment
        while not (self._is_stopping and not any(self._waiting.values())):
            self._arrived.wait()
            self._arrived.clear()
            while any(self._waiting.values()):
                most = max(len(waiting) for waiting in self._waiting.values())
                for task, waiting in self._waiting.items():
                    if waiting and not self._publish_batch(task, waiting):
                        if self._is_stopping:
                            return
                        time.sleep(PAUSE_SECONDS)
                if most <= MAX_IDS:  # else the next message is full already
                    # Meanwhile more ids gather: this is what makes messages few and full at peak.
                    time.sleep(self._spacing * min(MAX_SPACING, max(1, most // IDS_PER_SPACING)))

    def _publish_batch(self, task: str, waiting: deque[tuple[str, str]]) -> bool:
        """Publish up to ``MAX_IDS`` of ``waiting``; whether the broker took them. If not, the sweep finds these."""
        batch = [waiting.popleft() for _ in range(min(MAX_IDS, len(waiting)))]
        try:
            publish(task, [row_id for row_id, _ in batch], request_ids=[request for _, request in batch])
        except Exception as error:
            # Whatever the broker's client raises, this thread has to live on: the next ones may have better luck.
            logger.warning("a nudge of %s for %d rows was lost: %s", task, len(batch), error)
            return False
        return True


def publish(task: str, ids: list[str], *, request_ids: Iterable[str] = ()) -> None:
    """Publish one nudge now and wait for the broker to take it. Raises what the broker connection raises."""
    shown = ", ".join(map(str, ids))  # all of them: Celery's own text is cut off after a thousand characters
    headers = {"request_ids": list(request_ids)}
    _app().send_task(task, args=(ids,), argsrepr=shown, headers=headers, retry=False, ignore_result=True)


def _app() -> Any:
    """The Celery application, imported when first needed: an OpenAPI document can be made without a broker's address."""
    from workers.app import app  # noqa: PLC0415

    return app


async def publish_task(name: str, arguments: list[Any]) -> None:
    """Publish any task again, for an operator. Raises ``ServiceUnavailable`` where the broker is away."""
    positional, keywords = arguments if _is_call(arguments) else (arguments, {})
    try:
        await asyncio.to_thread(_app().send_task, name, args=positional, kwargs=keywords, retry=False)
    except OperationalError as error:
        raise ServiceUnavailable(retry_after_seconds=5) from error


def _is_call(arguments: list[Any]) -> bool:
    """Whether these are the positional and keyword arguments of a buried message, rather than positional ones alone."""
    return len(arguments) == 2 and isinstance(arguments[1], dict)  # noqa: PLR2004 - a pair

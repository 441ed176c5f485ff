"""Store messages that no task can be made of as dead letters, instead of dropping them or ending over them.

| message | Celery's own consumer | here |
|---|---|---|
| names a task that is not registered | drops it; Flower shows a task named null | dead letter with its arguments |
| protocol 1, or no task in its headers | runs or drops it | dead letter |
| wrong content type, undecodable body | drops it | dead letter with its content |
| no id, wrong shape of arguments | its main loop ends, and the message comes back | dead letter with its content |
| not the JSON that kombu reads | the process ends, and the message is lost | dead letter with its content |

Nothing of ours sends such a message, but another release may, or a person with access to the broker. If the database is away,
the message stays unacknowledged and comes back after the visibility timeout.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vine import promise

from workers.broker_loss import ReconnectingConsumer
from workers.envelopes import tolerate_any_bytes
from workers.runtime import run
from workflows.card_data import find_card_data
from workflows.errors import ServiceUnavailable
from workflows.ops.dead_letters import LONGEST, bury, is_storable, storable_text

logger = logging.getLogger(__name__)

JSON = "application/json"
NO_TASK = "unreadable"
"""What a letter says of a message that names no task."""

LONGEST_CONTENT = LONGEST["message"]

MALFORMED = (AttributeError, IndexError, KeyError, LookupError, TypeError, ValueError)
"""What Celery raises over headers of wrong types. Errors of the connection are none of these."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What is known of a message that cannot be carried out. ``call``: its arguments, if they can be read."""

    reason: str
    call: list[Any] | None = None


class DeadLetterConsumer(ReconnectingConsumer):
    """Celery's consumer, which looks at each message before it makes a task of it."""

    def __init__(self, *words: Any, **named: Any) -> None:
        tolerate_any_bytes()
        super().__init__(*words, **named)

    def create_task_handler(self, promise: Any = promise) -> Callable[[Any], None]:
        """Return what is called with each message."""
        handle = super().create_task_handler(promise)

        def received(message: Any) -> None:
            unreadable = examine(message, self.strategies)
            if unreadable is None:
                try:
                    handle(message)
                except MALFORMED as error:
                    unreadable = Unreadable(f"Its headers are malformed ({type(error).__name__}: {error})")
            if unreadable is not None:
                self._store(message, unreadable)

        return received

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Called with a message whose body the transport could not decode."""
        self._store(message, Unreadable(f"Its body cannot be decoded ({exc})"))

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002 - the signature is Celery's
        """Called with a message whose headers Celery refuses, for instance its time to start."""
        self._store(message, Unreadable(f"Its headers are invalid ({exc})"))

    def _store(self, message: Any, unreadable: Unreadable) -> None:
        try:
            task = _bury(message, unreadable)
        except (ServiceUnavailable, TimeoutError) as error:
            logger.warning("a message that cannot be carried out could not be stored: %s", error)
            return
        except (
            Exception
        ):  # it is asked for again later; anything raised here would end the worker, and then the next one
            logger.exception("a message that cannot be carried out could not be stored")
            return
        reason = storable_text(unreadable.reason, most=LONGEST["reason"])
        logger.error("a message of %s was stored as a dead letter: %s", task, reason, extra={"event": "message.buried"})
        message.reject_log_error(logger, self.connection_errors)


def _bury(message: Any, unreadable: Unreadable) -> str:
    """Store a message as a dead letter, and return the name of its task."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    task = str(headers.get("task") or NO_TASK)
    call = unreadable.call
    # Content that is long or has card data is stored as masked text, of which no task can be made.
    if call is not None and (len(message.body) > LONGEST_CONTENT or not is_storable(call)):
        call = None
    letter = bury(
        task,
        task_id=str(headers["id"]) if "id" in headers else None,
        arguments=call or [],
        deliveries=1,
        reason=unreadable.reason,
        traceback="",
        message=None if call is not None else content(message),
    )
    run(letter)
    return storable_text(task, most=LONGEST["task"])


def examine(message: Any, tasks: Any) -> Unreadable | None:
    """Return why no task can be made of a message, or ``None`` for one that can be carried out."""
    headers = message.headers
    if not isinstance(headers, dict) or not isinstance(headers.get("task"), str):
        return Unreadable("Its headers name no task: it is not a message of Celery's protocol 2")
    if not isinstance(headers.get("id"), str):
        return Unreadable("Its headers have no id")
    if message.content_type != JSON:
        return Unreadable(f"Its content type is {message.content_type}, not {JSON}")
    try:
        payload = message.payload
    except Exception as error:  # whatever a decoder raises
        return Unreadable(f"Its body cannot be decoded ({type(error).__name__}: {error})")
    if not _is_call(payload):
        return Unreadable("Its body is not a list of arguments, keyword arguments and options")
    if payload[1] and find_card_data(
        payload[1]
    ):  # ours have no keyword arguments; Python logs the names of unexpected ones
        return Unreadable("Its keyword arguments hold card data")
    if headers["task"] not in tasks:
        return Unreadable(f"No task is named {headers['task']}", call=[payload[0], payload[1]])
    return None


def content(message: Any) -> str:
    """Return the headers and the body of a message as a text that may be stored: cut, and without card data."""
    body = message.body
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    headers = json.dumps(message.headers, default=str)
    for part in (text, headers):
        try:
            places = find_card_data(json.loads(part))
        except (ValueError, RecursionError):  # not JSON: its digits are masked below
            continue
        if places:
            return f"Withheld, because it holds card data in {', '.join(places)}"[:LONGEST_CONTENT]
    described = f"content type: {message.content_type}\nheaders: {headers[:LONGEST_CONTENT]}\nbody: {text}"
    return storable_text(described, most=LONGEST_CONTENT)


def _is_call(payload: Any) -> bool:
    """Return whether this is a body of protocol 2."""
    match payload:
        case [list(), dict(), dict() | None]:
            return True
    return False

"""Consume messages as Celery does, but store those that cannot become a task as dead letters.

| message | Celery's own consumer | here |
|---|---|---|
| names a task that is not registered | drops it; Flower shows a task named null | dead letter with its arguments |
| protocol 1, or no task in its headers | runs or drops it | dead letter |
| wrong content type, undecodable body | drops it | dead letter with its content |
| no id, wrong shape of arguments | the worker's main loop ends; the message is redelivered | dead letter with its content |
| not JSON that kombu can read | the process exits, and the message is lost | dead letter with its content |

This release sends no such message, but another release may, or a person with access to the broker. If the database is
unavailable, the message stays unacknowledged and is delivered again after the visibility timeout.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vine import promise

from workers.broker_reconnect import ReconnectingConsumer
from workers.grouped_events import GroupedEventsConsumer
from workers.kombu_patches import patch_kombu
from workers.runtime import run
from workers.unstored_messages import store_unacknowledged
from workflows.card_data import find_card_data
from workflows.errors import ServiceUnavailable
from workflows.ops.dead_letters import MAX_CHARACTERS, is_storable, storable_text, store_dead_letter

logger = logging.getLogger(__name__)

JSON = "application/json"
NO_TASK = "unreadable"
"""The task name that is stored for a message without a task name."""

LONGEST_CONTENT = MAX_CHARACTERS["message"]

MALFORMED = (AttributeError, IndexError, KeyError, LookupError, TypeError, ValueError)
"""The errors that Celery raises for headers of wrong types. None of them is an error of the connection."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The reason why a message cannot become a task.

    ``call`` is the list of its positional and keyword arguments, or ``None`` if they cannot be read.
    """

    reason: str
    call: list[Any] | None = None


class DeadLetterConsumer(GroupedEventsConsumer, ReconnectingConsumer):
    """Celery's consumer, which checks each message before it creates a task."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        patch_kombu()
        super().__init__(*args, **kwargs)

    def create_task_handler(self, promise: Any = promise) -> Callable[[Any], None]:
        """Return the callback for a message: Celery's, after a check of the message."""
        handle = super().create_task_handler(promise)

        def check_and_handle(message: Any) -> None:
            unreadable = find_defect(message, self.strategies)
            if unreadable is None:
                try:
                    handle(message)
                except MALFORMED as error:
                    unreadable = Unreadable(f"Its headers are malformed ({type(error).__name__}: {error})")
            if unreadable is not None:
                self._store(message, unreadable)

        return check_and_handle

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Store a message whose body the transport could not decode. Celery calls this."""
        self._store(message, Unreadable(f"Its body cannot be decoded ({exc})"))

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002 - the signature is Celery's
        """Store a message whose headers Celery refuses, for instance its start time. Celery calls this."""
        self._store(message, Unreadable(f"Its headers are invalid ({exc})"))

    def _store(self, message: Any, unreadable: Unreadable) -> None:
        try:
            task = _store_as_dead_letter(message, unreadable)
        except (ServiceUnavailable, TimeoutError) as error:
            store_unacknowledged(message)
            logger.warning("an unreadable message could not be stored: %s", error, extra={"event": "message.unstored"})
            return
        except Exception:  # the message is redelivered; an error raised here would end this worker, and then the next
            store_unacknowledged(message)
            logger.exception("an unreadable message could not be stored", extra={"event": "message.unstored"})
            return
        reason = storable_text(unreadable.reason, most=MAX_CHARACTERS["reason"])
        logger.error("a message of %s was stored as a dead letter: %s", task, reason, extra={"event": "message.buried"})
        message.reject_log_error(logger, self.connection_errors)


def _store_as_dead_letter(message: Any, unreadable: Unreadable) -> str:
    """Store a message as a dead letter, and return the name of its task."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    task = str(headers.get("task") or NO_TASK)
    call = unreadable.call
    # Long content, and content with card data, is stored as masked text, which cannot be requeued.
    if call is not None and (len(message.body) > LONGEST_CONTENT or not is_storable(call)):
        call = None
    letter = store_dead_letter(
        task,
        task_id=str(headers["id"]) if "id" in headers else None,
        arguments=call or [],
        deliveries=1,
        reason=unreadable.reason,
        traceback="",
        message=None if call is not None else masked_content(message),
    )
    run(letter)
    return storable_text(task, most=MAX_CHARACTERS["task"])


def find_defect(message: Any, tasks: Any) -> Unreadable | None:
    """Return why a message cannot become a task, or ``None`` if it can.

    ``tasks`` are the registered ones, by name.
    """
    headers = message.headers
    if not isinstance(headers, dict) or not isinstance(headers.get("task"), str):
        return Unreadable("Its headers name no task: it is not a message of Celery's protocol 2")
    if not isinstance(headers.get("id"), str):
        return Unreadable("Its headers have no id")
    if message.content_type != JSON:
        return Unreadable(f"Its content type is {message.content_type}, not {JSON}")
    try:
        payload = message.payload
    except Exception as error:  # decoders raise many types
        return Unreadable(f"Its body cannot be decoded ({type(error).__name__}: {error})")
    if not _is_call(payload):
        return Unreadable("Its body is not a list of arguments, keyword arguments and options")
    # The error of a call with unexpected keyword arguments quotes their names. No task of ours takes any.
    if payload[1] and find_card_data(payload[1]):
        return Unreadable("Its keyword arguments hold card data")
    if headers["task"] not in tasks:
        return Unreadable(f"No task is named {headers['task']}", call=[payload[0], payload[1]])
    return None


def masked_content(message: Any) -> str:
    """Return the headers and the body of a message as text, truncated.

    Card data is masked, or the whole text is withheld.
    """
    body = message.body
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    headers = json.dumps(message.headers, default=str)
    for part in (text, headers):
        try:
            paths = find_card_data(json.loads(part))
        except (ValueError, RecursionError):  # not JSON: its digits are masked below
            continue
        if paths:
            return f"Withheld, because it holds card data in {', '.join(paths)}"[:LONGEST_CONTENT]
    described = f"content type: {message.content_type}\nheaders: {headers[:LONGEST_CONTENT]}\nbody: {text}"
    return storable_text(described, most=LONGEST_CONTENT)


def _is_call(payload: Any) -> bool:
    """Return whether this is a body of Celery's protocol 2.

    Such a body is a list of arguments, keyword arguments and options.
    """
    match payload:
        case [list(), dict(), dict() | None]:
            return True
    return False

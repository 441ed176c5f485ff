"""Store a message that cannot be processed as a dead letter, instead of redelivering it endlessly.

| what happened                                            | what happens to the message                          |
|----------------------------------------------------------|------------------------------------------------------|
| the task raised: database or broker is unavailable       | acknowledged: the row stays due, a sweep nudges again |
| the task raised anything else (unknown argument, a bug)  | acknowledged, stored here with its traceback         |
| the worker crashed on each of three deliveries           | acknowledged, stored here                             |
| the message is not a valid task                          | acknowledged, stored by ``workers.dead_letter_consumer`` |
"""

import logging
from typing import Any

from kombu.exceptions import OperationalError as BrokerUnavailable

from workers.runtime import run
from workflows.errors import ServiceUnavailable
from workflows.ops.dead_letters import store_dead_letter

logger = logging.getLogger(__name__)

MAX_DELIVERIES = 3
COUNT_LIFE_SECONDS = 86_400  # the count of a message starts again if it is not redelivered for a day


TRANSIENT = (ServiceUnavailable, TimeoutError, BrokerUnavailable)
"""Errors raised while the database or the broker is unavailable. Celery logs them without a traceback
(``DeadLetterTask.throws``)."""


def exceeded_max_deliveries(task: Any) -> bool:
    """Return whether the task's message was delivered more than ``MAX_DELIVERIES`` times.

    If so, store a dead letter. Deliveries are counted in the broker, and only of redelivered messages, so that an ordinary
    message costs nothing.
    """
    request = task.request
    if not (request.delivery_info or {}).get("redelivered"):
        return False
    with task.app.connection_for_write() as connection:
        client = connection.default_channel.client
        key = f"mpac:deliveries:{request.id}"
        deliveries = int(client.incr(key)) + 1
        client.expire(key, COUNT_LIFE_SECONDS)
    if deliveries <= MAX_DELIVERIES:
        return False
    store_failure(task.name, request.id, arguments=[request.args, request.kwargs], deliveries=deliveries)
    return True


def store_failure(
    task: str,
    task_id: str,
    *,
    arguments: Any,
    error: BaseException | None = None,
    trace: str = "",
    deliveries: int = 1,
) -> None:
    """Store a dead letter for a failed task, unless its error is transient."""
    if isinstance(error, TRANSIENT):
        logger.warning(
            "task %s is postponed until a sweep repeats it: %s",
            task,
            error,
            extra={"task_id": task_id, "event": "task.postponed"},
        )
        return
    reason = (
        f"{type(error).__name__}: {error}" if error else "its worker died each time"
    )  # no error: too many deliveries
    message = "task %s was stored as a dead letter: %s"
    logger.error(message, task, reason, extra={"task_id": task_id, "event": "task.dead_lettered"})
    run(
        store_dead_letter(
            task, task_id=task_id, arguments=arguments, deliveries=deliveries, reason=reason, traceback=trace
        )
    )

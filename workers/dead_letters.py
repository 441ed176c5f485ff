"""Poison tasks: a message that cannot be worked on goes into the dead-letter table instead of round and round.

| what happened                                            | what becomes of the message                          |
|----------------------------------------------------------|------------------------------------------------------|
| the task raised because database or broker are away      | acknowledged: the row stays due, the sweep nudges     |
| the task raised anything else (unknown argument, a bug)  | acknowledged, kept here with its traceback           |
| the worker died over it, three deliveries in a row       | acknowledged, kept here                               |
| no task can be made of it                                | acknowledged, stored by ``workers.unreadable``        |
"""

import logging
from typing import Any

from kombu.exceptions import OperationalError as BrokerAway

from workers.runtime import run
from workflows.errors import ServiceUnavailable
from workflows.ops.dead_letters import store_dead_letter

logger = logging.getLogger(__name__)

MAX_DELIVERIES = 3
COUNT_LIFE_SECONDS = 86_400  # a message that comes back after a day is a new story


PASSING = (ServiceUnavailable, TimeoutError, BrokerAway)
"""Errors of a database or broker that is away. Celery logs them without a traceback (``DeadLetterTask.throws``)."""


def exceeded_max_deliveries(task: Any) -> bool:
    """Whether the message in ``task``'s hands was delivered ``MAX_DELIVERIES`` times before; then it is buried here.

    Only redelivered messages are counted, so an ordinary one costs nothing.
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
    """Write a dead letter, unless the trouble is one that passes."""
    if isinstance(error, PASSING):
        logger.warning("task %s was put off: %s", task, error, extra={"task_id": task_id})
        return
    reason = f"{type(error).__name__}: {error}" if error else "its worker died each time"
    logger.error("task %s was buried: %s", task, reason, extra={"task_id": task_id})
    run(
        store_dead_letter(
            task, task_id=task_id, arguments=arguments, deliveries=deliveries, reason=reason, traceback=trace
        )
    )

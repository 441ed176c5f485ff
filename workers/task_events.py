"""Send the events that Flower shows: the ids of a task's rows, and the outcome of the rows.

| task | shown as |
|---|---|
| all its rows are final | SUCCESS, with a result such as ``3 completed, 1 failed: insufficient_funds`` |
| a row is in doubt, in review or was not recorded | RETRY, because it is processed again |
| provider calls are still in flight when its thread returns | STARTED until they have ended |
| it raised | FAILURE, with the name of the error; its dead letter and the log have the message and the traceback |
| housekeeping (``HousekeepingRequest``) that found nothing | not shown |

A *request* is Celery's name for a received message. Celery calls its methods in the thread that ran the task. Events carry
only ids and values of our own tables (I13).
"""

import logging
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any

from celery.worker.request import Request

from workflows.processing.task_summary import TaskSummary, TextSummary

logger = logging.getLogger(__name__)

IDS = re.compile(r"\b[a-z]{2,4}_[0-9a-f]{32}\b")
ERROR = re.compile(r"[A-Za-z_][\w.]*")

_of_this_thread = threading.local()
_event_sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="report")
"""The thread that sends the events of tasks whose provider calls end later. Sending may wait for the broker, for which the
event loop must not wait."""


def remember_result(result: Any) -> Any:
    """Store the result of the task that this thread runs, for the task's request, and return it."""
    _of_this_thread.outcome = result if isinstance(result, TaskSummary | TextSummary) else None
    return result


def _pop_result() -> TaskSummary | TextSummary | None:
    outcome: TaskSummary | TextSummary | None = getattr(_of_this_thread, "outcome", None)
    _of_this_thread.outcome = None
    return outcome


class ReportingRequest(Request):
    """A request whose events contain the outcome of the task's rows."""

    @property
    def argsrepr(self) -> str:
        """The ids in the task's arguments. The rest of the arguments is not shown."""
        return ", ".join(IDS.findall(str(self._argsrepr)))  # a header may hold anything

    @property
    def kwargsrepr(self) -> str:
        """An empty text, because no task of ours takes keyword arguments."""
        return ""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - the name is Celery's
        """Send an event.

        A success is sent with the task's outcome, and not before the last provider call has ended.
        """
        if type != "task-succeeded":
            self._send(type, **_without_error_text(fields))
            return
        outcome = _pop_result()
        if outcome is None or outcome.later is None:
            self._send_outcome(outcome, **fields)
        else:
            began = monotonic() - fields.get("runtime", 0.0)
            outcome.later.add_done_callback(lambda later: _event_sender.submit(self._send_outcome_later, later, began))

    def _send_outcome_later(self, later: "Future[TaskSummary]", began: float) -> None:
        try:
            self._send_outcome(later.result(), runtime=monotonic() - began)
        except Exception as error:  # the broker is unavailable; only Flower misses the event
            logger.warning(
                "an event for Flower was lost: %s", type(error).__name__, extra={"event": "flower.event_lost"}
            )

    def _send_outcome(self, outcome: TaskSummary | TextSummary | None, **fields: Any) -> None:
        words = "" if outcome is None else repr(outcome)
        if outcome is not None and outcome.is_open:
            self._send("task-retried", result=words, exception=words, runtime=fields.get("runtime"))
        else:
            self._send("task-succeeded", **{**fields, "result": words})

    def _send(self, type: str, **fields: Any) -> None:  # noqa: A002 - as above
        if self._eventer and self._eventer.enabled:
            self._eventer.send(type, uuid=self.id, **fields)


class HousekeepingRequest(ReportingRequest):
    """A request of a housekeeping task, whose events are sent only if the task found something or failed.

    The task has ``send_events`` off, so that Celery itself sends none.
    """

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - as above
        """Send ``task-received`` and the result once the task has ended, if it found something or failed.

        Nothing is sent before the task has ended.
        """
        if type == "task-started":
            return
        outcome = _pop_result()
        if type == "task-succeeded" and outcome is None:
            return
        self._send("task-received", name=self.name, args=self.argsrepr, kwargs=self.kwargsrepr, retries=0)
        if type == "task-succeeded":
            self._send_outcome(outcome, **fields)
        else:
            self._send(type, **_without_error_text(fields))


def _without_error_text(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an event with only the name of the error.

    The message of the error is left out, because it may quote a value.
    """
    if "exception" not in fields:
        return fields
    error = ERROR.match(str(fields["exception"]))
    return {**fields, "exception": error[0] if error else "an error", "traceback": None}

"""Structured logs: one JSON object per line on standard error, with the request and payment ids that belong to it.

Every composition root calls ``configure_logs`` once. Nothing that a client sent is logged but its ids: a card number in
a request never reaches a log line.
"""

import logging
import sys

import orjson

MARKS = ("request_id", "payment_id", "attempt", "task_id", "task", "method", "path", "status", "milliseconds", "caller")
"""What a line may carry beside its message (``extra=`` of a logging call)."""


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """``at`` (seconds since 1970), ``level``, ``logger``, ``message``, the marks, and the traceback if there is one."""
        line: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in MARKS:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure_logs(level: str) -> None:
    """Send every logger's lines of ``level`` and above to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    # Nobody prints where in our code a line was written, by which thread or process: not looking halves a line's cost.
    logging._srcfile = None  # the way of logging's own documentation on optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Celery says three lines about each message it takes: the rows' own history says it better.
    logging.getLogger("celery.worker.strategy").setLevel(max(logging.WARNING, root.level))
    logging.getLogger("celery.app.trace").setLevel(max(logging.WARNING, root.level))

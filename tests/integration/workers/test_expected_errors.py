"""Celery logs a task as an unexpected error only if it has a bug, not if the database or broker was unreachable."""

import importlib
import logging

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from kombu.exceptions import OperationalError

from mpac.stack.local_stack import LocalStack
from workers import dead_letters
from workflows.errors import ServiceUnavailable


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (ServiceUnavailable(retry_after_seconds=1), logging.INFO),
        (TimeoutError(), logging.INFO),
        (OperationalError("refused"), logging.INFO),
        (ValueError("a bug"), logging.ERROR),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_a_bug_is_logged_as_an_unexpected_error(
    stack: LocalStack, error: Exception, level: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dead_letters, "store_failure", lambda *_, **__: None)
    house_task = importlib.import_module("workers.app").DeadLetterTask
    app = Celery("one", task_cls=house_task, broker="memory://", set_as_current=False)

    name = f"fails.{type(error).__name__}"

    def fails() -> None:
        raise error

    app.task(name=name, Request="celery.worker.request:Request")(fails)

    app.finalize()
    with caplog.at_level(logging.INFO, logger="celery.app.trace"):
        build_tracer(name, app.tasks[name], app=app)("id-1", (), {}, {"id": "id-1", "delivery_info": {}})
    assert [record.levelno for record in caplog.records if record.name == "celery.app.trace"] == [level]
    app.close()

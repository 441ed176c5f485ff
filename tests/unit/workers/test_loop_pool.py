"""Tasks that are coroutines run on the event loop; what fails or is delivered again goes through Celery's own handling."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from celery import Celery
from celery.app.trace import build_tracer

from workers import dead_letters, loop_pool
from workers import runtime as worker_runtime
from workers.event_loop import EventLoopThread
from workers.loop_pool import COLLECT_AT_MOST, LoopPool
from workers.task_classes import DeadLetterTask, LoopTask
from workflows.processing.task_summary import TextSummary

WAIT_SECONDS = 20


class Hub:
    """A replacement for kombu's hub: calls are kept until ``run``."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], Any]] = []
        self.arrived = threading.Event()

    def call_soon(self, callback: Callable[[], Any]) -> None:
        self.soon.append(callback)
        self.arrived.set()

    def run(self) -> None:
        assert self.arrived.wait(WAIT_SECONDS)
        self.arrived.clear()
        calls, self.soon = self.soon, []
        for call in calls:
            call()


class Running:
    """A pool with tasks, and what became of them."""

    def __init__(self, pool: LoopPool, hub: Hub) -> None:
        self.pool, self.hub = pool, hub
        self.started: list[str] = []
        self.ended: list[tuple[int, Any, str]] = []
        self.has_ended = threading.Event()

    def apply(self, name: str, task_id: str, *arguments: Any, redelivered: bool = False) -> None:
        request = {"id": task_id, "delivery_info": {"redelivered": redelivered}}
        body = orjson.dumps([arguments, {}, None]).decode()

        def end(result: tuple[int, Any, float]) -> None:
            self.ended.append((result[0], result[1], threading.current_thread().name))
            self.has_ended.set()

        self.pool.on_apply(
            lambda *args: trace(self.pool.app, *args),
            (name, task_id, request, body, "application/json", "utf-8"),
            callback=end,
            accept_callback=lambda *_: self.started.append(task_id),
        )


def trace(app: Celery, name: str, task_id: str, request: dict[str, Any], body: str, *_: Any) -> tuple[int, Any, float]:
    """Run a task as Celery does in a thread."""
    arguments, keywords, _embedded = orjson.loads(body)
    traced = build_tracer(name, app.tasks[name], app=app)(task_id, arguments, keywords, request)
    return (1 if traced.info else 0, traced.retval, traced.runtime)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    bridge = EventLoopThread()
    bridge.start()
    monkeypatch.setattr(worker_runtime, "_bridge", bridge)
    monkeypatch.setattr(dead_letters, "exceeded_max_deliveries", lambda _task: False)
    app = Celery("one", task_cls=DeadLetterTask, broker="memory://", set_as_current=False)

    async def succeeds(ids: list[str]) -> TextSummary:
        return TextSummary(f"{', '.join(ids)} in {threading.current_thread().name}")

    async def fails() -> None:
        raise ValueError("a bug")

    def in_thread() -> str:
        return threading.current_thread().name

    app.task(name="loop.succeeds", base=LoopTask, shared=False)(succeeds)
    app.task(name="loop.fails", base=LoopTask, shared=False)(fails)
    app.task(name="thread.succeeds", shared=False)(in_thread)
    app.finalize()
    pool, hub = LoopPool(2, app=app), Hub()
    pool.register_with_event_loop(hub)
    yield Running(pool, hub)
    pool.executor.shutdown()
    bridge.stop()
    app.close()


def results(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list in which the results for Flower are collected."""
    seen: list[str] = []
    monkeypatch.setattr(loop_pool, "remember_result", lambda result: seen.append(repr(result)))
    return seen


def test_a_coroutine_runs_on_the_event_loop_and_is_acknowledged_by_the_main_thread(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = results(monkeypatch)
    running.apply("loop.succeeds", "t1", ["pay_1"])
    assert running.started == ["t1"]
    running.hub.run()
    assert running.ended == [(0, None, threading.current_thread().name)]
    assert seen == ["pay_1 in event-loop"]


def test_tasks_that_ended_are_acknowledged_together(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_pool, "COLLECT_SECONDS", WAIT_SECONDS)
    for number in range(COLLECT_AT_MOST):
        running.apply("loop.succeeds", f"t{number}", [])
    running.hub.run()
    assert len(running.ended) == COLLECT_AT_MOST


def test_an_error_is_handled_by_celery_in_a_thread(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[tuple[str, str]] = []
    monkeypatch.setattr(
        dead_letters, "store_failure", lambda name, task_id, error, **_: stored.append((task_id, str(error)))
    )
    running.apply("loop.fails", "t1")
    assert running.has_ended.wait(WAIT_SECONDS)
    [(failed, _, thread)] = running.ended
    assert failed
    assert thread.startswith("ThreadPoolExecutor")
    assert stored == [("t1", "a bug")]
    assert not running.pool.app.tasks["loop.fails"].errors


def test_a_message_that_is_delivered_again_is_counted_in_a_thread(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []

    def count(task: DeadLetterTask) -> bool:
        counted.append(task.request.id)
        return False

    monkeypatch.setattr(dead_letters, "exceeded_max_deliveries", count)
    running.apply("loop.succeeds", "t1", ["pay_1"], redelivered=True)
    assert running.has_ended.wait(WAIT_SECONDS)
    assert counted == ["t1"]
    assert running.ended[0][2].startswith("ThreadPoolExecutor")


def test_other_tasks_run_in_threads(running: Running) -> None:
    running.apply("thread.succeeds", "t1")
    assert running.has_ended.wait(WAIT_SECONDS)
    assert running.ended[0][2].startswith("ThreadPoolExecutor")


def test_a_pool_that_stops_waits_for_its_tasks_and_acknowledges_them(running: Running) -> None:
    running.apply("loop.succeeds", "t1", ["pay_1"])
    running.pool.on_stop()
    assert len(running.ended) == 1

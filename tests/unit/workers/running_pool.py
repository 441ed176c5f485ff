"""A ``LoopPool`` with tasks, a replacement for Celery's loop, and what became of the tasks."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import orjson
from celery import Celery
from celery.app.trace import build_tracer

from workers.loop_pool import LoopPool

WAIT_SECONDS = 20


class Poller:
    """A replacement for the poller with which the hub waits for messages."""

    def __init__(self) -> None:
        self.waits = 0

    def poll(self, timeout: float) -> list[Any]:
        self.waits += 1
        return []


class Hub:
    """A replacement for kombu's hub: calls are kept until ``run``."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], Any]] = []
        self.arrived = threading.Event()
        self.poller = Poller()

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

    def __init__(self, pool: LoopPool, hub: Hub, may_end: "Future[None]") -> None:
        self.pool, self.hub = pool, hub
        self.started: list[str] = []
        self.ended: list[tuple[int, Any, str]] = []
        self.has_ended = threading.Event()
        self.may_end: Future[None] = may_end
        self.fails_to_end: set[str] = set()

    def wait_for_ends(self, count: int) -> None:
        """Wait until ``count`` tasks have ended that are not acknowledged yet."""
        wait(set(self.pool._running), timeout=WAIT_SECONDS)
        assert len(self.pool._ended) == count

    def apply(self, name: str, task_id: str, *arguments: Any, redelivered: bool = False, waits: bool = True) -> None:
        """Receive a message; then, if ``waits``, wait for the next."""
        request = {"id": task_id, "delivery_info": {"redelivered": redelivered}}
        body = orjson.dumps([arguments, {}, None]).decode()

        def end(result: tuple[int, Any, float]) -> None:
            if task_id in self.fails_to_end:
                raise ConnectionError("the broker is away")
            self.ended.append((result[0], result[1], threading.current_thread().name))
            self.has_ended.set()

        self.pool.on_apply(
            lambda *args: trace(self.pool.app, *args),
            (name, task_id, request, body, "application/json", "utf-8"),
            callback=end,
            accept_callback=lambda *_: self.started.append(task_id),
        )
        if waits:
            self.hub.poller.poll(1.0)


def trace(app: Celery, name: str, task_id: str, request: dict[str, Any], body: str, *_: Any) -> tuple[int, Any, float]:
    """Run a task as Celery does in a thread."""
    arguments, keywords, _embedded = orjson.loads(body)
    traced = build_tracer(name, app.tasks[name], app=app)(task_id, arguments, keywords, request)
    return (1 if traced.info else 0, traced.retval, traced.runtime)

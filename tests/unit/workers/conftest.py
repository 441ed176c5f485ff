"""Fixtures of the workers' tests."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from celery import Celery

from tests.unit.workers.running_pool import Hub, Running
from workers import dead_letters
from workers import runtime as worker_runtime
from workers.event_loop import EventLoopThread
from workers.loop_pool import LoopPool
from workers.task_classes import DeadLetterTask, LoopTask
from workflows.processing.task_summary import TextSummary


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

    may_end: Future[None] = Future()

    async def waits() -> None:
        await asyncio.wrap_future(may_end)

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    def in_thread() -> str:
        return threading.current_thread().name

    def waits_in_thread() -> None:
        may_end.result()

    app.task(name="loop.succeeds", base=LoopTask, shared=False)(succeeds)
    app.task(name="loop.fails", base=LoopTask, shared=False)(fails)
    app.task(name="loop.waits", base=LoopTask, shared=False)(waits)
    app.task(name="loop.cancels_itself", base=LoopTask, shared=False)(cancels_itself)
    app.task(name="thread.succeeds", shared=False)(in_thread)
    app.task(name="thread.waits", shared=False)(waits_in_thread)
    app.finalize()
    pool, hub = LoopPool(2, app=app), Hub()
    pool.register_with_event_loop(hub)
    yield Running(pool, hub, may_end)
    if not may_end.done():
        may_end.set_result(None)
    pool.executor.shutdown()
    bridge.stop()
    app.close()

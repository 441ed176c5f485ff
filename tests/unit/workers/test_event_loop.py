"""Threads wait for coroutines on one event loop, and receive their results and errors."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from workers import event_loop as bridge_module
from workers.event_loop import EventLoopThread


@pytest.fixture
def bridge() -> Iterator[EventLoopThread]:
    made = EventLoopThread()
    made.start()
    yield made
    made.stop()


def test_many_threads_share_one_loop(bridge: EventLoopThread) -> None:
    async def where() -> tuple[int, int]:
        return id(asyncio.get_running_loop()), threading.get_ident()

    with ThreadPoolExecutor(8) as threads:
        seen = set(threads.map(lambda _: bridge.run(where()), range(32)))
    assert len(seen) == 1
    assert seen != {(0, threading.get_ident())}


def test_a_task_gets_the_error_of_its_coroutine(bridge: EventLoopThread) -> None:
    async def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        bridge.run(fail())


def test_a_task_fails_after_its_time_limit(bridge: EventLoopThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "TASK_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(TimeoutError):
        bridge.run(asyncio.Event().wait())


def test_running_work_before_the_loop_was_started_raises() -> None:
    work = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="has not been started"):
        EventLoopThread().run(work)
    work.close()

"""A task that fails in an unusual way neither ends the worker nor keeps a place of its prefetch limit."""

import pytest

from tests.unit.workers.running_pool import WAIT_SECONDS, Running
from workers import dead_letters, loop_pool


def test_a_callback_that_fails_does_not_end_the_worker_or_hold_up_the_others(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.fails_to_end = {"t1"}
    running.apply("loop.succeeds", "t1", [], waits=False)
    running.apply("loop.succeeds", "t2", [])
    running.wait_for_ends(2)
    running.pool.finish_ended()
    assert [record.event for record in caplog.records] == ["worker.acknowledge_failed"]  # type: ignore[attr-defined]
    assert len(running.ended) == 1


def test_a_task_that_is_cancelled_is_handled_like_an_error(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its message would keep a place of the prefetch limit permanently."""
    monkeypatch.setattr(dead_letters, "store_failure", lambda *_, **__: None)
    running.apply("loop.cancels_itself", "t1")
    assert running.has_ended.wait(WAIT_SECONDS)
    [(failed, error, thread)] = running.ended
    assert failed
    assert "was cancelled" in str(error)
    assert thread.startswith("ThreadPoolExecutor")


def test_a_task_that_hangs_is_ended_by_its_timeout(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_pool, "TASK_TIMEOUT_SECONDS", 0.01)
    running.apply("loop.waits", "t1")
    assert running.has_ended.wait(WAIT_SECONDS)
    assert running.ended[0][0]


def test_a_task_before_the_first_connection_runs_in_a_thread(running: Running) -> None:
    """Without Celery's own loop no thread could acknowledge it later."""
    running.pool._hub = None
    running.apply("loop.succeeds", "t1", [])
    assert running.has_ended.wait(WAIT_SECONDS)
    assert running.ended[0][2].startswith("ThreadPoolExecutor")

"""Tasks that are coroutines run on the event loop; what fails or is delivered again goes through Celery's own handling."""

import threading

import pytest
from celery.worker.consumer import Consumer

from tests.unit.workers.running_pool import WAIT_SECONDS, Running
from workers import dead_letters, loop_pool
from workers.broker_reconnect import ReconnectingConsumer
from workers.loop_pool import COLLECT_AT_MOST
from workers.task_classes import DeadLetterTask


@pytest.fixture
def waits_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the main thread be woken soon although it is not busy."""
    monkeypatch.setattr(loop_pool, "COLLECT_SECONDS", 0.01)


def results(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list in which the results for Flower are collected."""
    seen: list[str] = []
    monkeypatch.setattr(loop_pool, "remember_result", lambda result: seen.append(repr(result)))
    return seen


@pytest.mark.usefixtures("waits_briefly")
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
    monkeypatch.setattr(loop_pool, "BUSY_SECONDS", WAIT_SECONDS)
    for number in range(COLLECT_AT_MOST):
        running.apply("loop.succeeds", f"t{number}", [], waits=False)
    running.pool.hand_over()
    running.hub.run()
    assert len(running.ended) == COLLECT_AT_MOST


def test_a_received_task_starts_when_the_main_thread_is_about_to_wait(running: Running) -> None:
    running.apply("loop.succeeds", "t1", ["pay_1"], waits=False)
    assert not running.pool._running
    running.hub.poller.poll(1.0)
    assert running.hub.poller.waits == 1
    for started in set(running.pool._running):
        started.result(WAIT_SECONDS)
    assert len(running.pool._ended) == 1


def test_a_main_thread_that_is_about_to_wait_acknowledges_the_tasks_that_ended(running: Running) -> None:
    running.apply("loop.succeeds", "t1", ["pay_1"])
    running.wait_for_ends(1)
    assert running.ended == []
    running.hub.poller.poll(1.0)
    assert running.ended == [(0, None, threading.current_thread().name)]
    assert running.hub.soon == []  # it was not woken for that


def test_a_busy_worker_acknowledges_soon_although_no_message_arrives(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise ended tasks could use up its prefetch limit while nothing wakes the main thread."""
    monkeypatch.setattr(loop_pool, "COLLECT_SECONDS", 100 * WAIT_SECONDS)
    running.apply("loop.succeeds", "t0", ["pay_1"])  # ends while the worker is idle
    running.wait_for_ends(1)
    for number in range(COLLECT_AT_MOST):
        running.apply("loop.waits", f"w{number}", waits=False)
    running.apply("loop.succeeds", "t1", ["pay_1"], waits=False)
    running.pool.hand_over()
    running.hub.run()  # hangs until the main thread is woken
    assert len(running.ended) == 2


def test_tasks_in_threads_make_a_worker_busy(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_pool, "COLLECT_SECONDS", 100 * WAIT_SECONDS)
    for number in range(COLLECT_AT_MOST):
        running.apply("thread.waits", f"w{number}", waits=False)
    running.apply("loop.succeeds", "t1", ["pay_1"], waits=False)
    running.pool.hand_over()
    running.hub.run()  # hangs until the main thread is woken
    assert [name for _, _, name in running.ended] == [threading.current_thread().name]
    running.may_end.set_result(None)


def test_the_end_of_a_task_reaches_an_idle_main_thread_after_a_while(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_pool, "COLLECT_SECONDS", 0.05)
    for number in range(3):
        running.apply("loop.succeeds", f"t{number}", [], waits=False)
        running.pool.hand_over()
        running.hub.run()
        assert len(running.ended) == number + 1


def test_a_received_task_starts_at_once_when_the_connection_to_the_broker_is_lost(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Consumer, "__init__", lambda *_, **__: None)
    handed_over: list[int] = []
    monkeypatch.setattr(
        Consumer, "on_connection_error_after_connected", lambda *_: handed_over.append(len(running.pool._received))
    )
    consumer = ReconnectingConsumer()
    consumer.pool, consumer.task_consumer = running.pool, None
    running.apply("loop.succeeds", "t1", ["pay_1"], waits=False)
    consumer.on_connection_error_after_connected(ConnectionError("lost"))
    assert handed_over == [0]
    running.wait_for_ends(1)


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


@pytest.mark.parametrize("is_started", [True, False])
def test_a_pool_that_stops_waits_for_its_tasks_and_acknowledges_them(running: Running, is_started: bool) -> None:
    running.apply("loop.succeeds", "t1", ["pay_1"], waits=is_started)
    running.pool.on_stop()
    assert len(running.ended) == 1

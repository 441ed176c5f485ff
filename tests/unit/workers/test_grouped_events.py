"""The events of tasks are sent in groups, each a moment after its first event, and the last one before the worker ends."""

from collections.abc import Callable
from typing import Any

import pytest
from celery.worker.consumer import Consumer

from workers.grouped_events import GROUP_SECONDS, LARGEST_GROUP, GroupedEventsConsumer


class Hub:
    """A replacement for kombu's hub, which records what it should call and when."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], Any]] = []
        self.later: list[tuple[float, Callable[[], Any]]] = []

    def call_soon(self, callback: Callable[[], Any]) -> None:
        self.soon.append(callback)

    def call_later(self, seconds: float, callback: Callable[[], Any]) -> None:
        self.later.append((seconds, callback))

    def run(self) -> None:
        """Call everything, as if enough time had passed."""
        while self.soon or self.later:
            calls = [*self.soon, *(callback for _, callback in self.later)]
            self.soon, self.later = [], []
            for call in calls:
                call()


class Dispatcher:
    """A replacement for Celery's event dispatcher, which counts how often it sends."""

    def __init__(self) -> None:
        self.flushes = 0
        self.buffer_limit = 24

    def flush(self) -> None:
        self.flushes += 1


class Pool:
    """A replacement for the worker's pool, which notes what was sent before ended tasks were finished."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.flushes_before: list[int] = []

    def finish_ended(self) -> None:
        self.flushes_before.append(self.dispatcher.flushes)


class Clock:
    now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("workers.grouped_events.monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> GroupedEventsConsumer:
    monkeypatch.setattr(Consumer, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(Consumer, "create_task_handler", lambda *_, **__: lambda _message: None)
    monkeypatch.setattr(
        Consumer, "shutdown", lambda consumer: consumer.closed_after.append(consumer.dispatcher.flushes)
    )
    made = GroupedEventsConsumer()
    made.hub = Hub()
    made.dispatcher = made.event_dispatcher = Dispatcher()
    made.pool = Pool(made.dispatcher)
    made.closed_after = []
    return made


def test_the_events_of_half_a_second_are_one_message(consumer: GroupedEventsConsumer, clock: Clock) -> None:
    for _ in range(30):
        consumer.on_send_event_buffered()
    [begin] = consumer.hub.soon
    consumer.hub.soon = []
    begin()
    [(seconds, _)] = consumer.hub.later
    assert seconds == GROUP_SECONDS
    assert consumer.dispatcher.flushes == 0
    consumer.hub.run()
    assert consumer.dispatcher.flushes == 1


def test_an_event_after_a_group_begins_the_next(consumer: GroupedEventsConsumer, clock: Clock) -> None:
    consumer.on_send_event_buffered()
    consumer.hub.run()
    clock.now += GROUP_SECONDS
    consumer.on_send_event_buffered()
    consumer.hub.run()
    assert consumer.dispatcher.flushes == 2


def test_a_group_that_the_loop_never_sent_does_not_stop_the_events(
    consumer: GroupedEventsConsumer, clock: Clock
) -> None:
    consumer.on_send_event_buffered()
    consumer.hub = Hub()  # the loop was reset with the connection, and the timer is gone
    clock.now += GROUP_SECONDS
    consumer.on_send_event_buffered()
    consumer.hub.run()
    assert consumer.dispatcher.flushes == 1


def test_a_group_has_the_ends_of_the_tasks_that_ended_before_it(consumer: GroupedEventsConsumer, clock: Clock) -> None:
    consumer.on_send_event_buffered()
    consumer.hub.run()
    assert consumer.pool.flushes_before == [0]


def test_the_last_group_is_sent_before_the_connection_is_closed(consumer: GroupedEventsConsumer, clock: Clock) -> None:
    consumer.on_send_event_buffered()
    consumer.shutdown()
    assert consumer.closed_after == [1]


def test_each_new_connection_sends_large_groups(consumer: GroupedEventsConsumer) -> None:
    consumer.create_task_handler()
    assert consumer.dispatcher.buffer_limit == LARGEST_GROUP

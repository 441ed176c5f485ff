"""On a real broker, neither lost keys nor a changed wall clock prevent beat's next sweep."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from freezegun import freeze_time
from redis import Redis

from mpac.stack.local_stack import LocalStack
from workflows.ops.liveness import BACKLOG_LIMIT

HOUR = 3_600


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def broker(stack: LocalStack) -> Iterator[Redis]:
    """Yield a connection to the broker, whose queue for sweeps is emptied before and after the test."""
    with Redis.from_url(stack.urls.broker) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scheduler(broker: Redis, clock: Clock) -> Any:
    """Return a scheduler with the real beat schedule, after its first tick."""
    app = importlib.import_module("beat.app").app
    made = importlib.import_module("beat.scheduler").MonotonicScheduler(app=app, clock=clock)
    made.tick()
    broker.delete("sweeps", "settlements")
    return made


def sent(broker: Redis) -> int:
    """Return the number of waiting sweep messages, and empty the queue."""
    count = int(broker.llen("sweeps"))
    broker.delete("sweeps")
    return count


def test_each_entry_is_sent_at_its_interval(broker: Redis, clock: Clock, scheduler: Any) -> None:
    assert scheduler.tick() == pytest.approx(1)
    assert sent(broker) == 0
    counts = []
    for _ in range(15):
        clock.seconds += 1
        assert scheduler.tick() == pytest.approx(1)
        counts.append(sent(broker))
    each_second = "what is due each second, due times ahead each 10 s, reconciliations each 15 s"
    assert counts == [1] * 9 + [2] + [1] * 4 + [2], each_second


@pytest.mark.parametrize("jump_seconds", [-HOUR, HOUR, -26 * HOUR, 26 * HOUR])
def test_a_wall_clock_that_jumps_changes_nothing(
    broker: Redis, clock: Clock, scheduler: Any, jump_seconds: int
) -> None:
    for _ in range(3):
        with freeze_time(tz_offset=0) as wall:
            wall.tick(jump_seconds)
            clock.seconds += 1
            assert scheduler.tick() == pytest.approx(1)
            assert sent(broker) == 1


def test_messages_of_beat_do_not_expire(broker: Redis, clock: Clock, scheduler: Any) -> None:
    clock.seconds += HOUR
    scheduler.tick()
    raw = b"".join(broker.lrange("sweeps", 0, -1))  # type: ignore[arg-type]
    assert raw
    assert b'"expires": null' in raw
    assert raw.count(b'"expires": null') == raw.count(b'"expires"')


def test_a_pause_of_beat_is_followed_by_one_message_of_each_kind(broker: Redis, clock: Clock, scheduler: Any) -> None:
    clock.seconds += 26 * HOUR
    scheduler.tick()
    assert sent(broker) == 6
    assert broker.llen("settlements") == 1


def test_the_next_tick_is_sent_after_the_brokers_keys_were_deleted(broker: Redis, clock: Clock, scheduler: Any) -> None:
    for _ in range(3):
        for key in broker.scan_iter("*"):
            broker.delete(key)
        clock.seconds += 1
        scheduler.tick()
        assert broker.llen("sweeps") == 1
        broker.flushall()


def test_an_unconsumed_queue_does_not_grow_without_bound(broker: Redis, clock: Clock, scheduler: Any) -> None:
    for _ in range(BACKLOG_LIMIT + 10):
        clock.seconds += 1
        scheduler.tick()
    assert broker.llen("sweeps") == BACKLOG_LIMIT
    sent(broker)
    clock.seconds += 1
    scheduler.tick()
    assert sent(broker) == 1


async def test_ticks_resume_when_the_broker_returns(
    stack: LocalStack, clock: Clock, scheduler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    clock.seconds += 1
    await stack.stop("valkey")
    try:
        assert scheduler.tick() == pytest.approx(1)
        assert scheduler.tick() == pytest.approx(1)
    finally:
        await stack.start("valkey")
    assert [record.levelname for record in caplog.records if record.name == "beat.scheduler"] == ["WARNING"]
    scheduler.tick()
    with Redis.from_url(stack.urls.broker) as client:
        assert sent(client) == 1

"""Nudges share messages under load, are sent at once when alone, and can be lost without harm."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from workers import nudge
from workers.nudge import MAX_IDS, MAX_WAITING, PAYMENTS, REFUNDS, ArrivalRate, Nudger, pause_seconds

DEADLINE_SECONDS = 5.0


class Broker:
    """A message broker that refuses the first ``fails`` messages."""

    def __init__(self, *, fails: int = 0) -> None:
        self.messages: list[list[str]] = []
        self.request_ids: list[list[str]] = []
        self.prepared: list[str] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.is_closed = False
        self.backlog = 0
        self._fails = fails
        self._heard = asyncio.Condition()

    def prepare(self, *tasks: str) -> None:
        self.prepared += tasks

    async def send(self, task: str, ids: Sequence[str], *, request_ids: Sequence[str]) -> int:
        assert task == PAYMENTS
        await self.is_open.wait()
        async with self._heard:
            if self._fails:
                self._fails -= 1
                raise ConnectionError("the broker is away")
            self.messages.append(list(ids))
            self.request_ids.append(list(request_ids))
            self._heard.notify_all()
        return self.backlog

    async def close(self) -> None:
        self.is_closed = True

    async def wait_for(self, count: int) -> list[str]:
        async with asyncio.timeout(DEADLINE_SECONDS), self._heard:
            await self._heard.wait_for(lambda: sum(map(len, self.messages)) >= count)
        return [payment_id for message in self.messages for payment_id in message]


class Rate(ArrivalRate):
    """A rate that stays as it is."""

    def __init__(self, per_second: float) -> None:
        super().__init__()
        self._constant = per_second

    def add(self, count: int) -> float:
        return self._constant


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(nudge, "PAUSE_SECONDS", 0.01)
    return Broker()


@pytest.fixture
async def nudger(broker: Broker) -> AsyncIterator[Nudger]:
    made = Nudger(broker, spacing_seconds=0.0)
    made.start()
    yield made
    broker.is_open.set()
    await made.stop()


async def test_a_lone_id_is_sent_at_once_with_its_request_id(nudger: Nudger, broker: Broker) -> None:
    nudger.payment("pay_1", request_id="req_1")
    await broker.wait_for(1)
    assert broker.messages == [["pay_1"]]
    assert broker.request_ids == [["req_1"]]


async def test_ids_that_wait_for_a_slow_broker_share_full_messages(nudger: Nudger, broker: Broker) -> None:
    broker.is_open.clear()
    sent = [f"pay_{number}" for number in range(250)]
    for payment_id in sent:
        nudger.payment(payment_id, request_id="req_1")
    broker.is_open.set()
    assert await broker.wait_for(250) == sent
    assert max(map(len, broker.messages)) <= MAX_IDS
    assert len(broker.messages) <= 4


async def test_full_messages_are_sent_without_a_pause(broker: Broker) -> None:
    nudger = Nudger(broker, spacing_seconds=10 * DEADLINE_SECONDS)  # a pause before the third would exceed the limit
    for number in range(2 * MAX_IDS + 1):
        nudger.payment(f"pay_{number}", request_id="req_1")
    nudger.start()
    await broker.wait_for(2 * MAX_IDS + 1)
    assert [len(message) for message in broker.messages] == [MAX_IDS, MAX_IDS, 1]
    await nudger.stop(timeout_seconds=0)


async def test_ids_at_an_ordinary_rate_are_sent_without_a_pause(broker: Broker) -> None:
    nudger = Nudger(broker, spacing_seconds=10 * DEADLINE_SECONDS)  # a pause would exceed the limit
    nudger._rate = Rate(100.0)
    nudger.start()
    for number in range(5):
        nudger.payment(f"pay_{number}", request_id="req_1")
        await broker.wait_for(number + 1)
    await nudger.stop()


@pytest.mark.parametrize(
    ("rate", "milliseconds"), [(10, 0), (100, 0), (200, 0), (500, 6), (900, 20), (1_600, 60), (100_000, 60)]
)
def test_the_pause_between_messages_grows_with_the_rate(rate: float, milliseconds: int) -> None:
    assert round(1000 * pause_seconds(rate, 0, spacing=0.020)) == milliseconds


@pytest.mark.parametrize(("backlog", "milliseconds"), [(0, 0), (1, 5), (4, 20), (12, 60), (1_000, 60)])
def test_the_pause_between_messages_grows_with_the_backlog_of_the_workers(backlog: int, milliseconds: int) -> None:
    assert round(1000 * pause_seconds(100, backlog, spacing=0.020)) == milliseconds


async def test_ids_share_a_message_while_the_workers_are_behind(broker: Broker) -> None:
    nudger = Nudger(broker, spacing_seconds=10 * DEADLINE_SECONDS)  # a pause would exceed the limit
    nudger._rate = Rate(100.0)
    broker.backlog = 4
    nudger.start()
    nudger.payment("pay_1", request_id="req_1")
    await broker.wait_for(1)
    for number in (2, 3):
        nudger.payment(f"pay_{number}", request_id="req_1")
        await asyncio.sleep(0)
    assert broker.messages == [["pay_1"]]
    nudger._task.cancel()  # type: ignore[union-attr]
    await nudger.stop()


def test_the_rate_is_that_of_the_last_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("workers.nudge.monotonic", lambda: now[0])
    rate = ArrivalRate()
    for _ in range(500):
        now[0] += 0.01
        measured = rate.add(1)
    assert 95 < measured < 105
    now[0] += 3
    assert rate.add(1) < 5


async def test_a_nudge_returns_at_once_while_the_broker_hangs(nudger: Nudger, broker: Broker) -> None:
    broker.is_open.clear()
    for number in range(1_000):
        nudger.payment(f"pay_{number}", request_id="req_1")
    assert broker.messages == []


async def test_a_failed_nudge_is_not_repeated_and_later_nudges_are_published(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Broker(fails=1)
    nudger = Nudger(failing, spacing_seconds=0.0)
    for number in range(MAX_IDS + 1):
        nudger.payment(f"pay_{number}", request_id="req_1")
    nudger.start()
    assert await failing.wait_for(1) == [f"pay_{MAX_IDS}"]
    await nudger.stop()
    assert [(record.event, record.getMessage()) for record in caplog.records] == [  # type: ignore[attr-defined]
        ("nudge.lost", f"a nudge of {PAYMENTS} for {MAX_IDS} rows was lost: ConnectionError: the broker is away")
    ]


async def test_stopping_publishes_what_is_still_waiting(broker: Broker) -> None:
    nudger = Nudger(broker, spacing_seconds=0.0)
    for number in range(30):
        nudger.payment(f"pay_{number}", request_id="req_1")
    nudger.start()
    await nudger.stop()
    assert len(await broker.wait_for(30)) == 30
    assert broker.is_closed


async def test_stopping_does_not_wait_for_a_broker_that_hangs(broker: Broker) -> None:
    broker.is_open.clear()
    nudger = Nudger(broker, spacing_seconds=0.0)
    nudger.start()
    nudger.payment("pay_1", request_id="req_1")
    await nudger.stop(timeout_seconds=0.01)
    assert broker.messages == []
    assert broker.is_closed


async def test_messages_are_prepared_before_the_first_nudge(nudger: Nudger, broker: Broker) -> None:
    assert broker.prepared == [PAYMENTS, REFUNDS]


def test_the_number_of_waiting_ids_is_limited_while_the_broker_is_unreachable() -> None:
    nudger = Nudger(Broker(), spacing_seconds=0.0)
    for number in range(MAX_WAITING + 10):
        nudger.payment(f"pay_{number}", request_id="req_1")
    assert len(nudger._waiting[PAYMENTS]) == MAX_WAITING

"""Nudges share messages under load, are sent at once when alone, and can be lost without harm."""

import threading

import pytest

from workers import nudge
from workers.nudge import MAX_IDS, MAX_WAITING, PAYMENTS, ArrivalRate, Nudger, pause_seconds

DEADLINE_SECONDS = 5.0


class Broker:
    """A message broker that refuses the first ``fails`` messages."""

    def __init__(self, *, fails: int = 0) -> None:
        self.messages: list[list[str]] = []
        self.request_ids: list[list[str]] = []
        self.is_open = threading.Event()
        self.is_open.set()
        self._fails = fails
        self._heard = threading.Condition()

    def publish(self, task: str, payment_ids: list[str], *, request_ids: list[str]) -> None:
        assert task == PAYMENTS
        self.is_open.wait(DEADLINE_SECONDS)
        with self._heard:
            if self._fails:
                self._fails -= 1
                raise ConnectionError("the broker is away")
            self.messages.append(payment_ids)
            self.request_ids.append(request_ids)
            self._heard.notify_all()

    def wait_for(self, count: int) -> list[str]:
        with self._heard:
            arrived = self._heard.wait_for(lambda: sum(map(len, self.messages)) >= count, DEADLINE_SECONDS)
        assert arrived, f"{count} ids were expected; these came: {self.messages}"
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
    made = Broker()
    monkeypatch.setattr(nudge, "publish", made.publish)
    monkeypatch.setattr(nudge, "_app", lambda: None)
    monkeypatch.setattr(nudge, "PAUSE_SECONDS", 0.01)
    return made


@pytest.fixture
def nudger(broker: Broker) -> Nudger:
    made = Nudger(spacing_seconds=0.0)
    made.start()
    return made


def test_a_lone_id_is_sent_at_once_with_its_request_id(nudger: Nudger, broker: Broker) -> None:
    nudger.payment("pay_1", request_id="req_1")
    broker.wait_for(1)
    nudger.stop()
    assert broker.messages == [["pay_1"]]
    assert broker.request_ids == [["req_1"]]


def test_ids_that_wait_for_a_slow_broker_share_full_messages(nudger: Nudger, broker: Broker) -> None:
    broker.is_open.clear()
    sent = [f"pay_{number}" for number in range(250)]
    for payment_id in sent:
        nudger.payment(payment_id, request_id="req_1")
    broker.is_open.set()
    assert broker.wait_for(250) == sent
    nudger.stop()
    assert max(map(len, broker.messages)) <= MAX_IDS
    assert len(broker.messages) <= 4


def test_full_messages_are_sent_without_a_pause(broker: Broker) -> None:
    nudger = Nudger(spacing_seconds=10 * DEADLINE_SECONDS)  # a pause before the third message would exceed the limit
    for number in range(2 * MAX_IDS + 1):
        nudger.payment(f"pay_{number}", request_id="req_1")
    nudger.start()
    broker.wait_for(2 * MAX_IDS + 1)
    assert [len(message) for message in broker.messages] == [MAX_IDS, MAX_IDS, 1]


def test_ids_at_an_ordinary_rate_are_sent_without_a_pause(broker: Broker) -> None:
    nudger = Nudger(spacing_seconds=10 * DEADLINE_SECONDS)  # a pause would exceed the limit
    nudger._rate = Rate(100.0)
    nudger.start()
    for number in range(5):
        nudger.payment(f"pay_{number}", request_id="req_1")
        broker.wait_for(number + 1)
    nudger.stop()


@pytest.mark.parametrize(
    ("rate", "milliseconds"), [(10, 0), (100, 0), (200, 0), (500, 6), (900, 20), (1_600, 60), (100_000, 60)]
)
def test_the_pause_between_messages_grows_with_the_rate(rate: float, milliseconds: int) -> None:
    assert round(1000 * pause_seconds(rate, spacing=0.020)) == milliseconds


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


def test_a_nudge_returns_at_once_while_the_broker_hangs(nudger: Nudger, broker: Broker) -> None:
    broker.is_open.clear()
    for number in range(1_000):
        nudger.payment(f"pay_{number}", request_id="req_1")
    assert broker.messages == []
    broker.is_open.set()
    nudger.stop()


def test_a_failed_nudge_is_not_repeated_and_later_nudges_are_published(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Broker(fails=1)
    monkeypatch.setattr(nudge, "publish", failing.publish)
    nudger = Nudger(spacing_seconds=0.0)
    for number in range(MAX_IDS + 1):
        nudger.payment(f"pay_{number}", request_id="req_1")
    nudger.start()
    assert failing.wait_for(1) == [f"pay_{MAX_IDS}"]
    nudger.stop()


def test_stopping_publishes_what_is_still_waiting(broker: Broker) -> None:
    nudger = Nudger(spacing_seconds=0.0)
    for number in range(30):
        nudger.payment(f"pay_{number}", request_id="req_1")
    nudger.start()
    nudger.stop()
    assert len(broker.wait_for(30)) == 30


def test_the_number_of_waiting_ids_is_limited_while_the_broker_is_unreachable() -> None:
    nudger = Nudger(spacing_seconds=0.0)
    for number in range(MAX_WAITING + 10):
        nudger.payment(f"pay_{number}", request_id="req_1")
    assert len(nudger._waiting[PAYMENTS]) == MAX_WAITING

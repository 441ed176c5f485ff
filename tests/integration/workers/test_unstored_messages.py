"""Nudges are not stored at the broker while they are processed; every other message is delivered again if a worker dies."""

from collections.abc import Iterator
from typing import Any

import pytest
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Consumer
from kombu.transport import redis as kombu_redis
from uuid_utils import uuid7

from mpac.stack.local_stack import LocalStack
from workers import dead_letter_consumer
from workers.dead_letter_consumer import DeadLetterConsumer
from workers.grouped_events import GroupedEventsConsumer
from workers.kombu_patches import patch_kombu
from workers.nudge import PAYMENTS
from workers.unstored_messages import UNSTORED, NudgeQoS, store_unacknowledged
from workflows.errors import ServiceUnavailable

OTHER_TASK = "settlements.close"


class Worker:
    """A connection that consumes a queue of its own, as a worker does, and the messages that it received."""

    def __init__(self, connection: Connection, *, prefetched: int = 10) -> None:
        self.connection = connection
        self.queue = Queue(f"test-{uuid7().hex}", durable=False)
        self.messages: list[Any] = []
        channel = connection.channel()
        self.broker = channel.client
        self.unacked = channel.unacked_key
        channel.basic_qos(0, prefetched, False)
        self._producer = connection.Producer(connection.channel())
        self._consumer = Consumer(channel, [self.queue], on_message=self.messages.append)
        self._consumer.consume()

    def send(self, task: str, **headers: Any) -> None:
        self._producer.publish(
            [["pay_1"], {}, {}],
            routing_key=self.queue.name,
            headers={"task": task, "id": "1", **headers},
            serializer="json",
        )

    def receive(self) -> Any:
        """Return the next message, or ``None`` if the broker hands out none within a moment."""
        count = len(self.messages)
        try:
            while len(self.messages) == count:
                self.connection.drain_events(timeout=1.5)
        except TimeoutError:
            return None
        return self.messages[-1]

    def is_stored(self, message: Any) -> bool:
        """Return whether the broker would deliver the message again after the visibility timeout."""
        index = message.channel.unacked_index_key
        in_index = self.broker.zscore(index, message.delivery_tag) is not None
        assert self.broker.hexists(self.unacked, message.delivery_tag) == in_index
        return in_index

    def waiting(self) -> int:
        return int(self.broker.llen(self.queue.name))


@pytest.fixture
def worker(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(kombu_redis.Channel, "QoS", NudgeQoS)
    with Connection(stack.urls.broker) as connection:
        made = Worker(connection)
        yield made
        made.broker.delete(made.queue.name)


@pytest.mark.parametrize("task", sorted(UNSTORED))
def test_a_nudge_is_not_stored_and_its_acknowledgement_frees_its_place(worker: Worker, task: str) -> None:
    worker.send(task)
    message = worker.receive()
    assert not worker.is_stored(message)
    message.ack()
    assert message.channel.qos.can_consume_max_estimate() == 10


def test_any_other_message_is_stored_until_it_is_acknowledged(worker: Worker) -> None:
    worker.send(OTHER_TASK)
    message = worker.receive()
    assert worker.is_stored(message)
    message.ack()
    assert not worker.is_stored(message)


def test_a_nudge_that_was_delivered_before_is_stored_so_that_its_deliveries_are_counted(worker: Worker) -> None:
    worker.send(PAYMENTS, redelivered=True)
    assert worker.is_stored(worker.receive())


@pytest.mark.parametrize("task", [None, ["payments.process"], {"a": 1}, 7])
def test_a_message_whose_task_is_not_a_name_is_stored(worker: Worker, task: Any) -> None:
    worker.send(task)
    assert worker.is_stored(worker.receive())


def test_a_nudge_that_could_not_be_handled_is_stored_after_all(worker: Worker) -> None:
    worker.send(PAYMENTS)
    message = worker.receive()
    store_unacknowledged(message)
    assert worker.is_stored(message)
    message.reject()
    assert not worker.is_stored(message)
    assert worker.waiting() == 0


def test_a_rejected_nudge_returns_to_its_queue(worker: Worker) -> None:
    worker.send(PAYMENTS)
    message = worker.receive()
    message.requeue()
    again = worker.receive()
    assert again.headers["redelivered"]
    assert worker.is_stored(again)


def test_nudges_count_for_the_prefetch_limit(worker: Worker) -> None:
    limited = Worker(worker.connection, prefetched=2)
    for _ in range(3):
        limited.send(PAYMENTS)
    first, _second = limited.receive(), limited.receive()
    assert limited.receive() is None
    assert limited.waiting() == 1
    first.ack()
    assert limited.receive() is not None


def test_an_unreadable_nudge_is_delivered_again_if_it_cannot_be_stored_as_a_dead_letter(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_database(letter: Any) -> None:
        letter.close()
        raise ServiceUnavailable(retry_after_seconds=1)

    monkeypatch.setattr(dead_letter_consumer, "run", no_database)
    monkeypatch.setattr(GroupedEventsConsumer, "__init__", lambda *_, **__: None)
    worker.send(PAYMENTS)
    message = worker.receive()
    DeadLetterConsumer().on_decode_error(message, ValueError("broken"))
    assert worker.is_stored(message)


def test_a_worker_receives_nudges_in_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for where, name in ((kombu_redis, "loads"), (kombu_redis.Transport, "_deliver"), (kombu_redis.Channel, "QoS")):
        monkeypatch.setattr(where, name, getattr(where, name))
    patch_kombu()
    assert kombu_redis.Channel.QoS is NudgeQoS


def test_a_message_of_another_broker_is_left_alone() -> None:
    class Channel:
        qos = None

    class Message:
        channel, delivery_tag = Channel(), 1

    store_unacknowledged(Message())

"""A nudge on the broker is in the right queue, and contains only ids and the request id."""

import asyncio
import base64
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mpac.stack.local_stack import LocalStack
from tests.factories import Tenant
from tests.harness import Api
from tests.polling import eventually
from workers import nudge_sender
from workers.nudge import PAYMENTS
from workers.nudge_sender import NudgeSender

LONG_SECONDS = 600
"""Longer than any test may take."""


@pytest.fixture
async def empty_queue(stack: LocalStack, api: Api, tenant: Tenant) -> Redis:
    """Return a connection to the broker, after the nudges of earlier tests have arrived and were deleted."""
    client = Redis.from_url(stack.urls.broker, protocol=2)
    last = (await api.pay(tenant)).body["id"].encode()

    async def queued() -> bytes:
        messages = await client.lrange("payments", 0, -1)
        return b"".join(base64.b64decode(orjson.loads(message)["body"]) for message in messages)

    await eventually(queued, until=lambda bodies: last in bodies)
    await client.delete("payments")
    return client


async def test_a_payment_nudge_contains_only_its_id_and_request_id(
    api: Api, tenant: Tenant, empty_queue: Redis
) -> None:
    answer = await api.pay(tenant, amount=424_242, client_reference="till-1", metadata={"secret": "plum"})

    async def queued() -> int:
        return int(await empty_queue.llen("payments"))

    await eventually(queued, until=lambda count: count > 0)
    raw = await empty_queue.lindex("payments", 0)
    await empty_queue.aclose()
    message = orjson.loads(raw or "{}")
    assert message["headers"]["task"] == "payments.process"
    assert message["headers"]["request_ids"] == [answer.headers["X-Request-Id"]]
    arguments, keywords, _ = orjson.loads(base64.b64decode(message["body"]))
    assert (arguments, keywords) == ([[answer.body["id"]]], {})
    assert "424242" not in str(raw)
    assert b"plum" not in base64.b64decode(message["body"])


async def test_a_replay_and_a_refusal_send_no_nudge(api: Api, tenant: Tenant, empty_queue: Redis) -> None:
    await api.pay(tenant, key="k-1")

    async def queued() -> int:
        return int(await empty_queue.llen("payments"))

    await eventually(queued, until=lambda count: count == 1)
    await api.pay(tenant, key="k-1")
    await api.pay(tenant, amount=0)
    await api.pay(tenant, key="k-2")
    await eventually(queued, until=lambda count: count == 2)
    await empty_queue.aclose()


async def test_a_prepared_message_equals_one_that_celery_publishes(stack: LocalStack, empty_queue: Redis) -> None:
    from workers.app import app  # noqa: PLC0415 - it reads the settings of ``stack``

    client = empty_queue
    sender = NudgeSender(stack.urls.broker)
    sender.prepare(PAYMENTS)
    ids, request_ids = ["pay_1", "pay_2"], ["req_1", "req_2"]
    await sender.send(PAYMENTS, ids, request_ids=request_ids)
    await asyncio.to_thread(
        app.send_task,
        PAYMENTS,
        args=(ids,),
        argsrepr="pay_1, pay_2",
        headers={"request_ids": request_ids},
        retry=False,
        ignore_result=True,
    )
    published, prepared = [orjson.loads(each) for each in await client.lrange("payments", 0, -1)]
    await client.delete("payments")
    await client.aclose()
    await sender.close()
    assert _task_id(prepared) != _task_id(published)
    assert prepared["properties"].pop("delivery_tag") != published["properties"].pop("delivery_tag")
    assert prepared["properties"].pop("reply_to")  # of the thread that published
    del published["properties"]["reply_to"]
    assert orjson.loads(base64.b64decode(prepared.pop("body"))) == orjson.loads(base64.b64decode(published.pop("body")))
    assert prepared == published


def _task_id(message: dict[str, Any]) -> str:
    """Remove the id of the task from all places of a message, and return it."""
    headers = message["headers"]
    [task_id] = {headers.pop("id"), headers.pop("root_id"), message["properties"].pop("correlation_id")}
    return str(task_id)


async def test_a_nudge_is_sent_after_the_broker_has_closed_the_connection(
    stack: LocalStack, empty_queue: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = empty_queue
    monkeypatch.setattr(nudge_sender, "ANSWER_SECONDS", 0)
    sender = NudgeSender(stack.urls.broker)
    sender.prepare(PAYMENTS)
    assert await sender.send(PAYMENTS, ["pay_1"], request_ids=["req_1"]) == 0
    [connection] = sender._broker.connection_pool._available_connections
    await client.client_kill_filter(_type="normal", skipme=True)
    await eventually(
        connection.can_read, until=bool
    )  # the end of the connection, which an idle client notices a moment later
    assert await sender.send(PAYMENTS, ["pay_2"], request_ids=["req_2"]) == 1
    await client.delete("payments")
    await client.aclose()
    await sender.close()


async def test_only_one_nudge_in_a_while_is_answered(
    stack: LocalStack, empty_queue: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nudge_sender, "ANSWER_SECONDS", LONG_SECONDS)
    sender = NudgeSender(stack.urls.broker)
    sender.prepare(PAYMENTS)

    async def queued() -> int:
        return int(await empty_queue.llen("payments"))

    for number in range(3):
        assert await sender.send(PAYMENTS, ["pay_1"], request_ids=["req_1"]) == 0
        await eventually(queued, until=(number + 1).__eq__)
    [connection] = sender._broker.connection_pool._available_connections
    assert not await connection.can_read()  # an answer that nobody reads would be taken for the next one's
    monkeypatch.setattr(nudge_sender, "ANSWER_SECONDS", 0)
    assert await sender.send(PAYMENTS, ["pay_1"], request_ids=["req_1"]) == 3
    monkeypatch.setattr(nudge_sender, "ANSWER_SECONDS", LONG_SECONDS)
    assert await sender.send(PAYMENTS, ["pay_1"], request_ids=["req_1"]) == 4, "answered while messages wait"
    await empty_queue.delete("payments")
    await empty_queue.aclose()
    await sender.close()


async def test_refused_nudges_without_an_answer_are_noticed_by_the_next_answer(
    stack: LocalStack, empty_queue: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nudge_sender, "ANSWER_SECONDS", LONG_SECONDS)
    sender = NudgeSender(stack.urls.broker)
    sender.prepare(PAYMENTS)
    await sender.send(PAYMENTS, ["pay_1"], request_ids=["req_1"])
    await empty_queue.delete("payments")
    await empty_queue.set("payments", "not a list")
    await sender.send(PAYMENTS, ["pay_2"], request_ids=["req_2"])
    monkeypatch.setattr(nudge_sender, "ANSWER_SECONDS", 0)
    with pytest.raises(ResponseError):
        await sender.send(PAYMENTS, ["pay_3"], request_ids=["req_3"])
    await empty_queue.delete("payments")
    assert await sender.send(PAYMENTS, ["pay_4"], request_ids=["req_4"]) == 0
    await empty_queue.delete("payments")
    await empty_queue.aclose()
    await sender.close()


async def test_a_broker_that_does_not_answer_loses_the_nudge_after_a_while(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nudge_sender, "SEND_SECONDS", 0.05)
    is_over = asyncio.Event()

    async def never_answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_over.wait()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1") as server:
        sender = NudgeSender(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        sender.prepare(PAYMENTS)
        with pytest.raises(TimeoutError):
            await sender.send(PAYMENTS, ["pay_1"], request_ids=["req_1"])
        await sender.close()
        is_over.set()

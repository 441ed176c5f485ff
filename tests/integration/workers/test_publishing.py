"""A nudge on the broker is in the right queue, and contains only ids and the request id."""

import base64

import orjson
import pytest
from redis.asyncio import Redis

from mpac.stack.local_stack import LocalStack
from tests.factories import Tenant
from tests.harness import Api
from tests.polling import eventually


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

"""The sandbox sends one signed event per final outcome, and repeats it a few times if it is refused."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from sandbox import timestamps
from sandbox.timestamps import MICROSECONDS_PER_SECOND
from tests.integration.sandbox.harness import SECRET, Launch, Sandbox, new_payment_id
from tests.polling import eventually


class Receiver:
    """A receiver of events that refuses the first ``refuse`` of them."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.refuse = 0
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        names = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type")
        self.seen.append(({name: request.headers[name] for name in names}, await request.read()))
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        return web.Response(status=204)

    def events(self, payment: str) -> list[dict[str, Any]]:
        """Return the events of one payment, in order of arrival."""
        bodies = [orjson.loads(body) for _headers, body in self.seen]
        return [body for body in bodies if body["data"]["payment_id"] == payment]

    async def wait_for(self, payment: str, *, count: int) -> list[dict[str, Any]]:
        async def look() -> list[dict[str, Any]]:
            return self.events(payment)

        return await eventually(look, until=lambda events: len(events) >= count)


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/events", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    yield receiver
    await runner.cleanup()


@pytest.fixture(scope="module")
async def announcer(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    environment = {"MPAC_SANDBOX_WEBHOOK_URL": receiver.url}
    sandbox = await Sandbox.start(tmp_path_factory.mktemp("announcer"), environment)
    yield sandbox
    await sandbox.stop()


async def settings(announcer: Sandbox, **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = (await announcer.call("PUT", "/control/webhooks", body=changes)).body
    return body


async def test_an_outcome_is_announced_and_signed(announcer: Sandbox, receiver: Receiver) -> None:
    payment = new_payment_id()
    charged = (await announcer.charge(f"{payment}:1")).body
    (event,) = await receiver.wait_for(payment, count=1)
    assert event["type"] == "charge.succeeded"
    assert event["created_at"].endswith("Z")
    assert event["data"] == charged
    headers, body = next(seen for seen in receiver.seen if payment.encode() in seen[1])
    assert headers["webhook-id"] == event["event_id"]
    assert abs(int(headers["webhook-timestamp"]) - timestamps.now() / MICROSECONDS_PER_SECOND) < 60
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac.digest()).decode()


async def test_every_kind_of_outcome_has_its_event(announcer: Sandbox, receiver: Receiver) -> None:
    payment = new_payment_id()
    await announcer.charge(f"{payment}:1", fate="decline:x")
    await announcer.charge(f"{payment}:2", fate="pending:30")
    await announcer.charge(f"{payment}:3")
    await announcer.refund(f"{payment}:r1", of=f"{payment}:3", amount=1)
    await announcer.refund(f"{payment}:r2", of=f"{payment}:3", amount=1_000)
    await announcer.charge(f"{payment}:4")
    await announcer.call("POST", f"/v1/charges/{payment}:4/reverse")
    await announcer.code(f"{payment}:5")
    await announcer.call("POST", f"/v1/charges/{payment}:5/cancel")
    await announcer.code(f"{payment}:6", expires_in=1)
    events = await receiver.wait_for(payment, count=9)
    assert sorted((event["data"]["reference"].partition(":")[2], event["type"]) for event in events) == [
        ("1", "charge.declined"),
        ("2", "charge.succeeded"),
        ("3", "charge.succeeded"),
        ("4", "charge.reversed"),
        ("4", "charge.succeeded"),
        ("5", "charge.cancelled"),
        ("6", "charge.expired"),
        ("r1", "refund.succeeded"),
        ("r2", "refund.declined"),
    ]
    assert len({event["event_id"] for event in events}) == 9


async def test_a_lost_answer_is_announced_nevertheless(announcer: Sandbox, receiver: Receiver) -> None:
    payment = new_payment_id()
    await announcer.charge(f"{payment}:1", fate="error_500_after_charge")
    (event,) = await receiver.wait_for(payment, count=1)
    assert event["type"] == "charge.succeeded"


async def test_a_repeated_answer_is_not_announced_again(announcer: Sandbox, receiver: Receiver) -> None:
    payment, other = new_payment_id(), new_payment_id()
    for _ in range(3):
        await announcer.charge(f"{payment}:1")
    await announcer.charge(f"{other}:1")
    await receiver.wait_for(other, count=1)
    assert len(await receiver.wait_for(payment, count=1)) == 1


async def test_a_refused_event_is_sent_again_with_the_same_id(announcer: Sandbox, receiver: Receiver) -> None:
    payment = new_payment_id()
    receiver.refuse = 1
    await announcer.charge(f"{payment}:1")
    first, second = await receiver.wait_for(payment, count=2)
    assert first == second


async def test_events_can_be_duplicated(announcer: Sandbox, receiver: Receiver) -> None:
    payment = new_payment_id()
    assert (await settings(announcer, duplicate=4))["duplicate"] == 4
    try:
        await announcer.charge(f"{payment}:1")
        events = await receiver.wait_for(payment, count=5)
    finally:
        await settings(announcer, duplicate=0)
    assert len({event["event_id"] for event in events}) == 1


async def test_events_can_be_delayed(announcer: Sandbox, receiver: Receiver) -> None:
    payment = new_payment_id()
    await settings(announcer, delay_ms=250)
    started = time.monotonic()
    try:
        await announcer.charge(f"{payment}:1")
        await receiver.wait_for(payment, count=1)
    finally:
        await settings(announcer, delay_ms=0)
    assert time.monotonic() - started >= 0.25


async def test_events_can_be_switched_off(announcer: Sandbox, receiver: Receiver) -> None:
    silent, loud = new_payment_id(), new_payment_id()
    await settings(announcer, enabled=False)
    try:
        await announcer.charge(f"{silent}:1")
    finally:
        await settings(announcer, enabled=True)
    await announcer.charge(f"{loud}:1")
    await receiver.wait_for(loud, count=1)
    assert receiver.events(silent) == []


async def test_a_dead_webhook_receiver_does_not_delay_the_caller(announcer: Sandbox, receiver: Receiver) -> None:
    await settings(announcer, url="http://127.0.0.1:9/events")  # nothing listens on the discard port
    try:
        answers = await asyncio.gather(*(announcer.charge(f"{new_payment_id()}:1") for _ in range(20)))
    finally:
        await settings(announcer, url=receiver.url)
    assert {answer.status for answer in answers} == {200}


@pytest.mark.parametrize(
    "changes", [{"url": 5}, {"enabled": "yes"}, {"duplicate": -1}, {"delay_ms": 1.5}, {"duplicate": 1_001}], ids=str
)
async def test_invalid_webhook_settings_are_refused_and_change_nothing(
    announcer: Sandbox, changes: dict[str, Any]
) -> None:
    before = (await announcer.call("GET", "/control/webhooks")).body
    answer = await announcer.call("PUT", "/control/webhooks", body=changes)
    after = (await announcer.call("GET", "/control/webhooks")).body
    assert answer.status == 400
    kept = ("url", "enabled", "duplicate", "delay_ms")
    assert [before[name] for name in kept] == [after[name] for name in kept]


async def test_no_event_is_sent_without_a_url(launch: Launch) -> None:
    sandbox = await launch()
    await sandbox.charge(f"{new_payment_id()}:1")
    described = (await sandbox.call("GET", "/control/webhooks")).body
    await sandbox.stop()
    assert (described["url"], described["delivered"], described["failed"], described["under_way"]) == ("", 0, 0, 0)

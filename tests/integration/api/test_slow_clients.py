"""Slow unauthenticated clients cannot occupy others' slots or make the server keep unread answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.http1.protocol import SequentialProtocol
from api.limits import Admission
from tests.conftest import Serve
from tests.factories import Tenant
from tests.harness import Api
from tests.integration.api.raw_http import ARRIVAL_TIMEOUT_SECONDS, CASH, Wire
from tests.polling import until

PLACES = 3
DOCUMENT = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
"""A request whose answer overflows the connection's buffers if it is sent several times."""
BODIES = {
    "a form without end": b"POST /api/v1/auth/device/token HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\ngrant_type=",
    "an activation without end": b"POST /api/v1/device/provision/activate HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n"
    b"Content-Type: application/json\r\n\r\n{",
    "chunks without end": b"POST /api/v1/payments/pay_1/cancel HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/json\r\n\r\n1\r\n{\r\n",
    "answers that nobody reads": DOCUMENT * 100,
}


@asynccontextmanager
async def _unread_connections(api: Api, raw: bytes, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open ``count`` connections that send ``raw`` and read nothing.

    ``limit`` keeps the reader from reading ahead.
    """
    host, port = api.url.removeprefix("http://").split(":")
    lines = [await asyncio.open_connection(host, int(port), limit=1_024) for _ in range(count)]
    for _, writer in lines:
        writer.write(raw)
    try:
        yield [reader for reader, _ in lines]
    finally:
        for _, writer in lines:
            writer.transport.abort()


@pytest.fixture
def waiting_requests(monkeypatch: pytest.MonkeyPatch) -> list[Admission]:
    """Return the list of requests that are currently waiting for their clients."""
    now: list[Admission] = []
    usual = Admission.wait_without_slot

    async def noted(admission: Admission, client: Awaitable[Any]) -> Any:
        now.append(admission)
        try:
            return await usual(admission, client)
        finally:
            now.remove(admission)

    monkeypatch.setattr(Admission, "wait_without_slot", noted)
    return now


@pytest.mark.parametrize("what", BODIES)
async def test_slow_unauthenticated_clients_occupy_no_slot(
    serve: Serve, tenant: Tenant, what: str, waiting_requests: list[Admission], caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(max_requests_in_flight=PLACES) as api:
        await api.get("/openapi.json")  # the document is built once; requests that wait for it hold slots
        async with _unread_connections(api, BODIES[what], 2 * PLACES):
            wire = Wire(api, tenant)
            await until(lambda: len(waiting_requests) == 2 * PLACES)
            answer = await wire.send(wire.post(CASH))
            assert (answer.status, len(waiting_requests)) == (201, 2 * PLACES), answer
    assert "unexpected error" not in caplog.text


async def test_a_body_that_arrives_when_all_slots_are_taken_is_refused_without_effect(
    serve: Serve, tenant: Tenant, waiting_requests: list[Admission]
) -> None:
    others: list[Admission] = []

    async def another_takes_the_place(_sent: int) -> None:
        await until(lambda: len(waiting_requests) == 1)
        others.append(waiting_requests[0])
        waiting_requests[0].acquire()

    async with serve(max_requests_in_flight=1) as api:
        wire = Wire(api, tenant)
        raw = wire.post(CASH)
        refused = await wire.send(raw, piece=len(raw) - 1, between=another_takes_the_place)
        assert (refused.status, b"retry-after:" in refused.headers) == (503, True), refused
        others[0].release()
        made = await wire.send(raw)
        assert (made.status, b"idempotent-replayed" in made.headers) == (201, False)


async def test_a_client_that_does_not_read_its_answers_is_cut_off(
    serve: Serve, waiting_requests: list[Admission], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[Exception | None] = []
    usual = SequentialProtocol.connection_lost

    def noted(line: SequentialProtocol, error: Exception | None) -> None:
        lost.append(error)
        usual(line, error)

    monkeypatch.setattr(SequentialProtocol, "connection_lost", noted)
    monkeypatch.setattr("api.http1.flow_control.CLIENT_READ_SECONDS", 0.2)
    async with serve() as api, _unread_connections(api, DOCUMENT * 100, 1):
        await until(lambda: bool(lost))
        await until(lambda: not waiting_requests)
    assert "unexpected error" not in caplog.text


async def test_a_client_that_reads_slowly_gets_its_answers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.http1.flow_control.MIN_BYTES_READ", 0)
    monkeypatch.setattr("api.http1.flow_control.CLIENT_READ_SECONDS", 0.01)
    async with serve() as api, _unread_connections(api, DOCUMENT * 100, 1) as [reader]:
        async with asyncio.timeout(ARRIVAL_TIMEOUT_SECONDS):
            for _ in range(100):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))

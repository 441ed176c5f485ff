"""Requests in one burst are answered in order, and a 400 means that nothing was done."""

import asyncio

import psycopg
import pytest
from psycopg.rows import DictRow

from api.http1.protocol import SequentialProtocol
from tests.factories import Tenant
from tests.harness import Api
from tests.integration.api.raw_http import Connection, Raw, Wire, chunked, payment

Admin = psycopg.AsyncConnection[DictRow]
GARBAGE = b"\x16\x03\x01 this is not HTTP\r\n\r\n"


async def _made(admin: Admin, tenant: Tenant) -> list[str]:
    rows = await admin.execute(
        "SELECT client_reference FROM payments WHERE store_id = %s ORDER BY client_reference", [tenant.store_id]
    )
    return [row["client_reference"] for row in await rows.fetchall()]


def _references(answers: list[Raw]) -> list[str]:
    assert [answer.status for answer in answers] == [201] * len(answers), answers
    return [answer.json["client_reference"] for answer in answers]


@pytest.mark.parametrize("count", [2, 20, 400])
async def test_many_pipelined_payments_are_answered_in_order(
    wire: Wire, admin: Admin, tenant: Tenant, count: int
) -> None:
    burst = b"".join(payment(wire, number) for number in range(count))
    async with Connection(wire) as connection:
        answers = await connection.exchange(burst, count)
    wanted = [f"r{number:03}" for number in range(count)]
    assert _references(answers) == wanted
    assert await _made(admin, tenant) == wanted


@pytest.mark.parametrize("piece", [1, 7, 1_000])
async def test_pipelined_burst_may_be_cut_anywhere(wire: Wire, admin: Admin, tenant: Tenant, piece: int) -> None:
    burst = payment(wire, 0) + chunked(wire, 1, b"X-T: 1\r\n") + payment(wire, 2)
    async with Connection(wire) as connection:
        answers = await connection.exchange(burst, 3, piece=piece)
    assert _references(answers) == await _made(admin, tenant) == ["r000", "r001", "r002"]


@pytest.mark.parametrize("count", [1, 5])
async def test_garbage_after_payments_is_answered_after_them(
    wire: Wire, admin: Admin, tenant: Tenant, count: int
) -> None:
    burst = b"".join(payment(wire, number) for number in range(count))
    async with Connection(wire) as connection:
        answers = await connection.exchange(burst + GARBAGE + payment(wire, 9), count + 1)
        assert await connection.ended()
    answers.pop().check_refusal()
    assert _references(answers) == await _made(admin, tenant) == [f"r{number:03}" for number in range(count)]


@pytest.mark.parametrize(
    "broken",
    [
        b"5\r\n",  # the next request interrupts this chunk
        b"zz\r\n\r\n",
        b"1\r\n{X\r\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b"fffffffffffffffff\r\n",
    ],
)
async def test_malformed_chunked_body_creates_no_payment(
    wire: Wire, admin: Admin, tenant: Tenant, broken: bytes
) -> None:
    head = chunked(wire, 1).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    async with Connection(wire) as connection:
        answers = await connection.exchange(payment(wire, 0) + head + broken + payment(wire, 2), 2)
        assert await connection.ended()
    answers.pop().check_refusal()
    assert _references(answers) == await _made(admin, tenant) == ["r000"]


async def test_client_that_closes_its_sending_side_gets_all_answers(wire: Wire, admin: Admin, tenant: Tenant) -> None:
    burst = b"".join(payment(wire, number) for number in range(20))
    async with Connection(wire) as connection:
        answers = await connection.exchange(burst, 20, half_close=True)
        assert await connection.ended()
    assert _references(answers) == await _made(admin, tenant) == [f"r{number:03}" for number in range(20)]


@pytest.mark.parametrize("missing", [1, 30, 250])
async def test_a_truncated_request_has_no_effect(wire: Wire, admin: Admin, tenant: Tenant, missing: int) -> None:
    burst = payment(wire, 0) + payment(wire, 1)[:-missing]
    async with Connection(wire) as connection:
        answers = await connection.exchange(burst, 2, half_close=True)
        assert await connection.ended()
    answers.pop().check_refusal()
    assert _references(answers) == await _made(admin, tenant) == ["r000"]


@pytest.mark.parametrize("status", [401, 404, 400, 422])
async def test_a_payment_after_a_refused_request_is_made(wire: Wire, admin: Admin, tenant: Tenant, status: int) -> None:
    good = payment(wire, 0)
    refused = {
        401: good.replace(b"Bearer ", b"Bearer x"),
        404: good.replace(b"/payments", b"/nowhere"),
        400: wire.post(b"x" * 200_000),  # over the limit: refused before the body has arrived
        422: wire.post(b'{"amount":0}'),
    }[status]
    async with Connection(wire) as connection:
        answers = await connection.exchange(refused + payment(wire, 1), 2)
    assert [answer.status for answer in answers] == [status, 201]
    assert await _made(admin, tenant) == ["r001"]


async def test_pipelined_answers_wait_for_a_slow_earlier_answer(wire: Wire, api: Api, tenant: Tenant) -> None:
    waits = (await api.pay(tenant)).body["id"].encode()  # no worker processes it in this test
    slow = wire.get(b"/api/v1/payments/" + waits + b"?wait=1&since_version=1")
    async with Connection(wire) as connection:
        answers = await connection.exchange(slow + payment(wire, 1) + wire.get(b"/health/live"), 3)
    assert [answer.status for answer in answers] == [200, 201, 200]
    assert answers[0].json["id"].encode() == waits


async def test_an_upgrade_to_an_unknown_protocol_loses_no_later_request(
    wire: Wire, admin: Admin, tenant: Tenant
) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    burst = wire.get(b"/health/live", headers=upgrade) + payment(wire, 0, upgrade) + payment(wire, 1)
    async with Connection(wire) as connection:
        answers = await connection.exchange(burst, 3)
    assert answers[0].status == 200
    assert _references(answers[1:]) == await _made(admin, tenant) == ["r000", "r001"]


async def test_after_connection_close_nothing_more_is_done(wire: Wire, admin: Admin, tenant: Tenant) -> None:
    burst = payment(wire, 0, b"Connection: close\r\n") + payment(wire, 1)
    async with Connection(wire) as connection:
        answers = await connection.exchange(burst, 1)
        assert await connection.ended()
    assert _references(answers) == await _made(admin, tenant) == ["r000"]


async def test_waiting_bytes_of_a_connection_are_bounded(
    wire: Wire, api: Api, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 0
    advance = SequentialProtocol._advance

    def measured(protocol: SequentialProtocol) -> None:
        nonlocal longest
        advance(protocol)
        longest = max(longest, len(protocol._waiting) - protocol._at)

    monkeypatch.setattr(SequentialProtocol, "_advance", measured)
    waits = (await api.pay(tenant)).body["id"].encode()
    slow = wire.get(b"/api/v1/payments/" + waits + b"?wait=1&since_version=1")
    large = wire.get(b"/health/live", headers=b"X-A: " + b"x" * 60_000 + b"\r\n")
    async with Connection(wire) as connection:
        answers = await connection.exchange(slow + large * 100, 101)
    assert [answer.status for answer in answers] == [200] * 101
    assert 60_000 < longest < 1_000_000  # of six million bytes: one read, plus the bytes that were buffered before it


async def test_connection_with_only_blank_lines_is_closed(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[SequentialProtocol] = []
    begin = SequentialProtocol.connection_made

    def connection_made(protocol: SequentialProtocol, transport: asyncio.Transport) -> None:
        opened.append(protocol)
        protocol.timeout_keep_alive = 0.2  # type: ignore[assignment]  # seconds; uvicorn says int
        begin(protocol, transport)

    monkeypatch.setattr(SequentialProtocol, "connection_made", connection_made)
    async with Connection(wire) as connection:
        connection.write(b"\r\n\r\n")
        assert await connection.ended()
    assert opened

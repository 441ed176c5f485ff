"""Headers are limited, requests without progress are refused, and a disconnect is not logged as an error."""

import asyncio

import pytest

from api.http1.protocol import SequentialProtocol
from tests.conftest import Serve
from tests.harness import UVICORN
from tests.integration.api.raw_http import ARRIVAL_TIMEOUT_SECONDS, CASH, Wire
from tests.polling import eventually, until

PIECE = 100


async def test_expect_100_continue_gets_no_100_and_the_body_is_read(wire: Wire) -> None:
    answer = await wire.send(wire.post(CASH, headers=b"Expect: 100-continue\r\n"))
    answer.check("expect")
    assert answer.status == 201


@pytest.mark.parametrize("seen", [b"", b"POST /api/v1/pay", b"POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_headers_without_end_are_refused(wire: Wire, seen: bytes) -> None:
    endless = (seen or b"GET /health/live HTTP/1.1\r\n") + (b"X-A: b\r\n" * 40_000 if seen == b"" else b"x" * 300_000)
    answer = await wire.send(endless)
    answer.check("endless")
    assert (answer.status, b"must not exceed 64 KiB" in answer.body) == (400, True)


@pytest.mark.parametrize("part", [10, 60, 150, -1])
async def test_request_without_progress_is_refused_after_the_timeout(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: int
) -> None:
    monkeypatch.setattr("api.http1.protocol.ARRIVAL_TIMEOUT_SECONDS", 0.2)
    answer = await wire.send(wire.post(CASH)[:part])
    answer.check(part)
    assert (answer.status, b"in time" in answer.body) == (400, True)
    assert "unexpected error" not in caplog.text


async def test_slow_request_with_progress_is_accepted(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[SequentialProtocol] = []
    begin = SequentialProtocol._start_arrival_timer

    def start_timer(line: SequentialProtocol) -> None:
        lines.append(line)
        begin(line)

    monkeypatch.setattr(SequentialProtocol, "_start_arrival_timer", start_timer)
    monkeypatch.setattr("api.http1.protocol.MIN_BYTES_PER_TIMEOUT", 1)

    async def timer_ends(sent: int) -> None:
        """Wait until `sent` bytes have arrived, and then let the arrival timer expire.

        Some of the bytes arrive after the timer started.
        """
        await until(lambda: bool(lines) and lines[-1]._seen == sent)
        if sent > PIECE:
            lines[-1]._stop_arrival_timer()
            lines[-1]._check_arrival()

    answer = await wire.send(wire.post(CASH, key=b"slow"), piece=PIECE, between=timer_ends)
    assert (answer.status, len(lines) > 3) == (201, True)


async def test_connection_without_any_request_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UVICORN, "timeout_keep_alive", 0.2)
    async with serve() as api:
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(ARRIVAL_TIMEOUT_SECONDS):
            assert await reader.read() == b""
        writer.close()


async def test_a_client_that_disconnects_within_its_body_is_not_an_unexpected_error(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (b"/api/v1/payments", b"/api/v1/payments/pay_1/cancel"):
        _, writer = await asyncio.open_connection(*wire.address)
        writer.write(wire.post(CASH, path=path)[:-5])
        await writer.drain()
        writer.transport.abort()
    await eventually(_said(caplog, "POST answered 400"), until=lambda times: times >= 2)
    assert "unexpected error" not in caplog.text


def _said(caplog: pytest.LogCaptureFixture, line: str):  # type: ignore[no-untyped-def]  # a small closure
    async def count() -> int:
        return sum(line in record.getMessage() for record in caplog.records)

    return count

"""Bytes that no well-behaved client sends. Whatever comes, the answer is one of the reference's codes, in the envelope."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from api.protocol import EnvelopeProtocol
from tests.conftest import Serve
from tests.factories import Tenant
from tests.harness import UVICORN, Api
from tests.waiting import eventually, until

ALLOWED = {200, 201, 204, 400, 401, 403, 404, 409, 422, 429}
PATIENCE_SECONDS = 10.0
PIECE = 100
CASH = b'{"amount":1000,"method":{"type":"cash"}}'


@dataclass(frozen=True)
class Raw:
    """An answer as its bytes say."""

    status: int
    headers: bytes
    body: bytes

    def check(self, what: object) -> None:
        """A code of the reference, a request id, and the envelope where it is an error."""
        said = f"{what!r} → {self.status} {self.body[:300]!r}"
        assert self.status in ALLOWED, said
        assert b"x-request-id:" in self.headers, said
        if self.status >= 400:
            error = orjson.loads(self.body)["error"]
            assert set(error) == {"code", "message", "details"}, said


class Wire:
    """Sends bytes and reads one answer."""

    def __init__(self, api: Api, tenant: Tenant) -> None:
        host, port = api.url.removeprefix("http://").split(":")
        self.address = host, int(port)
        self.token = b"Bearer " + api.signer.device(tenant).encode()

    async def send(
        self, raw: bytes, *, piece: int = 1 << 20, between: Callable[[int], Awaitable[None]] | None = None
    ) -> Raw:
        """One connection, one request (in pieces; ``between`` them is told how much was sent), one answer."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            for start in range(0, len(raw), piece):
                if between and start:
                    await between(start)
                writer.write(raw[start : start + piece])
            async with asyncio.timeout(PATIENCE_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                headers = head.lower()
                length = int(headers.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                body = await reader.readexactly(length)
            return Raw(int(head.split(b" ", 2)[1]), headers, body)
        finally:
            writer.close()

    def post(self, body: bytes, *, headers: bytes = b"", path: bytes = b"/api/v1/payments", key: bytes = b"k") -> bytes:
        """A POST of ``body``, good but for what the test makes of it."""
        return b"".join(
            [
                b"POST "
                + path
                + b" HTTP/1.1\r\nHost: x\r\nAuthorization: "
                + self.token
                + b"\r\nIdempotency-Key: "
                + key,
                b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(body),
                headers + b"\r\n" + body,
            ]
        )

    def get(self, path: bytes, *, headers: bytes = b"", method: bytes = b"GET") -> bytes:
        """A GET of ``path``."""
        return (
            method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nAuthorization: " + self.token + b"\r\n" + headers + b"\r\n"
        )


@pytest.fixture
def wire(api: Api, tenant: Tenant) -> Wire:
    return Wire(api, tenant)


def with_field(name: str, raw: bytes) -> bytes:
    """A good body with one more field, its value as raw JSON."""
    return CASH[:-1] + b',"' + name.encode() + b'":' + raw + b"}"


BODIES: dict[str, bytes] = {
    "NUL in a text": with_field("client_reference", b'"a\\u0000b"'),
    "NUL in metadata": with_field("metadata", b'{"a":"\\u0000"}'),
    "NUL in a name": with_field("metadata", b'{"\\u0000":1}'),
    "NUL raw": with_field("client_reference", b'"a\x00b"'),
    "lone surrogate": with_field("client_reference", b'"\\ud800"'),
    "lone surrogate in metadata": with_field("metadata", b'{"a":"\\udfff"}'),
    "lone surrogate in a name": with_field("metadata", b'{"\\ud800":1}'),
    "surrogate as UTF-8": with_field("client_reference", b'"\xed\xa0\x80"'),
    "overlong UTF-8": with_field("client_reference", b'"\xc0\xaf"'),
    "latin-1": with_field("client_reference", b'"\xe9"'),
    "deep lists": with_field("metadata", b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    "deep objects": with_field("metadata", b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
    "deep nonsense": b"[" * 60_000,
    "huge int": with_field("metadata", b'{"a":' + b"9" * 5_000 + b"}"),
    "huge amount": b'{"amount":' + b"9" * 5_000 + b',"method":{"type":"cash"}}',
    "amount of 2^63": b'{"amount":9223372036854775808,"method":{"type":"cash"}}',
    "exponent": b'{"amount":1e400,"method":{"type":"cash"}}',
    "amount as 1e3": b'{"amount":1e3,"method":{"type":"cash"}}',
    "NaN": with_field("metadata", b'{"a":NaN}'),
    "Infinity": b'{"amount":Infinity,"method":{"type":"cash"}}',
    "minus zero": b'{"amount":-0,"method":{"type":"cash"}}',
    "doubled field": b'{"amount":1,"amount":2,"method":{"type":"cash"}}',
    "many fields": b"{" + b",".join(b'"f%d":1' % number for number in range(4_000)) + b"}",
    "byte order mark": b"\xef\xbb\xbf" + CASH,
    "UTF-16": CASH.decode().encode("utf-16"),
    "UTF-32": CASH.decode().encode("utf-32"),
    "two documents": CASH + CASH,
    "empty": b"",
    "only spaces": b"   ",
    "direction override": with_field("client_reference", '"a\u202eb"'.encode()),
    "line separator": with_field("metadata", '{"a":"\u2028"}'.encode()),
    "a date of the year 0": with_field("expires_in", b'"0000-00-00"'),
}


READABLE = ("doubled field", "byte order mark", "UTF-16", "UTF-32")
"""What can be read in one way only may be read."""


@pytest.mark.parametrize("name", BODIES)
async def test_no_body_breaks_the_api(wire: Wire, name: str) -> None:
    answer = await wire.send(wire.post(BODIES[name]))
    answer.check(name)
    assert answer.status in ((201, 400, 422) if name in READABLE else (400, 422)), answer.body


HEADERS: dict[str, bytes] = {
    "two keys": b"Idempotency-Key: other\r\n",
    "two tokens": b"Authorization: Bearer x\r\n",
    "two types": b"Content-Type: text/plain\r\n",
    "two lengths": b"Content-Length: 5\r\n",
    "length and chunks": b"Transfer-Encoding: chunked\r\n",
    "negative length": b"Content-Length: -1\r\n",
    "unknown coding": b"Transfer-Encoding: gzip\r\n",
    "compressed": b"Content-Encoding: gzip\r\n",
    "NUL in a value": b"X-A: a\x00b\r\n",
    "bytes in a value": b"X-A: \xff\xfe\r\n",
    "bytes in a name": b"X-\xff: a\r\n",
    "no colon": b"X-A\r\n",
    "space before colon": b"X-A : b\r\n",
    "long value": b"X-A: " + b"x" * 60_000 + b"\r\n",
    "many": b"".join(b"X-%d: a\r\n" % number for number in range(500)),
    "upgrade": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "expect": b"Expect: something\r\n",
    "two request ids": b"X-Request-Id: a\r\nX-Request-Id: b\r\n",
    "another host": b"X-Forwarded-Host: evil.example\r\nX-HTTP-Method-Override: DELETE\r\n",
    "odd accept": b"Accept: image/png\r\nAccept-Language: \xff\r\nRange: bytes=0-1\r\n",
    "old": b"If-Modified-Since: yesterday\r\nIf-None-Match: *\r\n",
}


@pytest.mark.parametrize("name", HEADERS)
async def test_no_header_breaks_the_api(wire: Wire, name: str) -> None:
    answer = await wire.send(wire.post(CASH, headers=HEADERS[name]))
    answer.check(name)


PATHS = (
    b"/api/v1/payments/%00",
    b"/api/v1/payments/%ff%fe",
    b"/api/v1/payments/%zz",
    b"/api/v1/payments/%",
    b"/api/v1/payments/..%2f..%2fetc%2fpasswd",
    b"/api/v1/payments/../../health/live",
    b"/api/v1//payments",
    b"//api/v1/payments",
    b"/api/v1/payments;x=1",
    b"/api/v1/payments/%e2%80%ae",
    b"/api/v1/payments/" + b"a" * 8_000,
    b"/api/v1/payments?limit=%00",
    b"/api/v1/payments?limit=1&limit=x",
    b"/api/v1/payments?" + b"a=1&" * 5_000,
    b"/api/v1/payments?client_reference=%00",
    b"/api/v1/payments?client_reference=%ed%a0%80",
    b"/api/v1/payments?client_reference=%ff",
    b"/api/v1/payments?store_id=%27%3b--",
    b"/api/v1/payments?created_from=0000-01-01T00:00:00Z",
    b"/api/v1/payments?created_from=0001-01-01T00:00:00%2B23:59",
    b"/api/v1/payments?created_to=9999-12-31T23:59:59-23:59",
    b"/api/v1/payments?created_from=99999999999999999999",
    b"/api/v1/payments?created_from=2026-01-01",
    b"/api/v1/payments?created_from=-1e400",
    b"/api/v1/payments?cursor=%F0%9F%92%A9",
    b"/api/v1/payments/pay_1?wait=1e400",
    b"/api/v1/payments/pay_1?wait=0x10",
    b"/api/v1/payments/pay_1?wait=&since_version=",
    b"http://elsewhere.example/api/v1/payments",
    b"*",
    b"/\xff\xfe",
    b"/api/v1/payments?\xff",
    b"/openapi.json",
    b"/favicon.ico",
)


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_breaks_the_api(wire: Wire, path: bytes) -> None:
    (await wire.send(wire.get(path))).check(path)


@pytest.mark.parametrize(
    "method", [b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PURGE", b"BREW", b"get", b"G\x00T", b"", b"X" * 300]
)
async def test_no_method_breaks_the_api(wire: Wire, method: bytes) -> None:
    raw = wire.get(b"/api/v1/payments", method=method)
    if method == b"HEAD":
        raw = raw.replace(b"HEAD", b"OPTIONS", 1)  # its answer has no body to read; the path is the same
    (await wire.send(raw)).check(method)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x00" * 64 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_the_envelope_too(wire: Wire, raw: bytes) -> None:
    answer = await wire.send(raw)
    answer.check(raw)
    assert answer.status == 400


@pytest.mark.parametrize("key", [b"", b" ", b"\x00", b"\xff", b"a\x7f", b"x" * 101, b"\xe2\x82\xac", b"a" * 100])
async def test_no_key_breaks_the_api(wire: Wire, key: bytes) -> None:
    answer = await wire.send(wire.post(CASH, key=key))
    answer.check(key)
    assert (answer.status == 201) == (key == b"a" * 100)


def mutations(seed: int, body: bytes, *, count: int) -> Iterator[bytes]:
    """``body`` with bytes changed, dropped, doubled and swapped, the same in every run."""
    chance = random.Random(seed)
    for _ in range(count):
        changed = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(changed))
            match chance.randrange(4):
                case 0:
                    changed[place] = chance.randrange(256)
                case 1:
                    del changed[place]
                case 2:
                    changed[place:place] = changed[place : place + 8]
                case _:
                    changed[place:place] = chance.choice(
                        [b"\x00", b"\\u0000", b"\\ud800", b"1e999", b"{", b"]", b'"', b"null"]
                    )
        yield bytes(changed)


FULL: dict[str, Any] = {
    "amount": 1_000,
    "currency": "JPY",
    "tip_amount": 5,
    "method": {"type": "card", "approval_code": "A1", "card_last_4": "1111"},
    "client_reference": "till-1",
    "expires_in": 60,
    "metadata": {"a": [1, 2.5, None, True, {"b": "ü"}]},
}


@pytest.mark.parametrize("seed", range(4))
async def test_no_mutation_of_a_good_body_breaks_the_api(wire: Wire, seed: int) -> None:
    for body in mutations(seed, orjson.dumps(FULL), count=60):
        answer = await wire.send(wire.post(body, key=b"k%d" % hash(body)))
        answer.check(body)


async def test_nobody_is_told_to_continue_since_100_is_no_code_of_the_reference(wire: Wire) -> None:
    answer = await wire.send(wire.post(CASH, headers=b"Expect: 100-continue\r\n"))
    answer.check("expect")
    assert answer.status == 201


@pytest.mark.parametrize("seen", [b"", b"POST /api/v1/pay", b"POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_a_head_without_end_is_refused(wire: Wire, seen: bytes) -> None:
    endless = (seen or b"GET /health/live HTTP/1.1\r\n") + (b"X-A: b\r\n" * 40_000 if seen == b"" else b"x" * 300_000)
    answer = await wire.send(endless)
    answer.check("endless")
    assert (answer.status, b"at most 64 KiB" in answer.body) == (400, True)


@pytest.mark.parametrize("part", [10, 60, 150, -1])
async def test_a_request_that_does_not_get_on_is_refused_in_time(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: int
) -> None:
    monkeypatch.setattr("api.protocol.PATIENCE_SECONDS", 0.2)
    answer = await wire.send(wire.post(CASH)[:part])
    answer.check(part)
    assert (answer.status, b"in time" in answer.body) == (400, True)
    assert "unexpected error" not in caplog.text


async def test_a_request_that_gets_on_slowly_is_waited_for(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[EnvelopeProtocol] = []
    begin = EnvelopeProtocol._begin_patience

    def begin_patience(line: EnvelopeProtocol) -> None:
        lines.append(line)
        begin(line)

    monkeypatch.setattr(EnvelopeProtocol, "_begin_patience", begin_patience)
    monkeypatch.setattr("api.protocol.LEAST_BYTES", 1)

    async def patience_ends(sent: int) -> None:
        """So much has come, a piece of it since patience began; its time is over now."""
        await until(lambda: bool(lines) and lines[-1]._seen == sent)
        if sent > PIECE:
            lines[-1]._end_patience()
            lines[-1]._lose_patience()

    answer = await wire.send(wire.post(CASH, key=b"slow"), piece=PIECE, between=patience_ends)
    assert (answer.status, len(lines) > 3) == (201, True)


async def test_a_line_on_which_nothing_comes_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UVICORN, "timeout_keep_alive", 0.2)
    async with serve() as api:
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await reader.read() == b""
        writer.close()


async def test_a_caller_that_hangs_up_in_the_middle_is_no_error_of_ours(
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


async def test_after_all_that_the_api_still_takes_payments(api: Api, tenant: Tenant) -> None:
    assert (await api.pay(tenant)).status == 201

"""Send raw bytes on a connection to the API, and parse the answers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson

from tests.factories import Tenant
from tests.harness import Api

ALLOWED = {200, 201, 204, 400, 401, 403, 404, 409, 422, 429}
ARRIVAL_TIMEOUT_SECONDS = 10.0
CASH = b'{"amount":1000,"method":{"type":"cash"}}'


@dataclass(frozen=True)
class Raw:
    """A raw HTTP answer."""

    status: int
    headers: bytes
    body: bytes

    def check(self, what: object) -> None:
        """Check that the answer has a known status and a request id, and the error envelope if it is an error."""
        said = f"{what!r} → {self.status} {self.body[:300]!r}"
        assert self.status in ALLOWED, said
        assert b"x-request-id:" in self.headers, said
        if self.status >= 400:
            error = orjson.loads(self.body)["error"]
            assert set(error) == {"code", "message", "details"}, said

    @property
    def json(self) -> Any:
        """The parsed body."""
        return orjson.loads(self.body)

    def check_refusal(self) -> None:
        """Check that the answer is a 400 from the protocol layer.

        The answer must be in the error envelope, with ``Connection: close``.
        """
        self.check("a refusal")
        assert self.status == 400, self.body
        assert self.json["error"]["code"] == "VALIDATION_ERROR"
        assert b"\r\nconnection: close\r\n" in self.headers


class Wire:
    """Send raw requests to the API, each on a new connection."""

    def __init__(self, api: Api, tenant: Tenant) -> None:
        host, port = api.url.removeprefix("http://").split(":")
        self.address = host, int(port)
        self.token = b"Bearer " + api.signer.device(tenant).encode()

    async def send(
        self, raw: bytes, *, piece: int = 1 << 20, between: Callable[[int], Awaitable[None]] | None = None
    ) -> Raw:
        """Send one request on a new connection, and return its answer.

        ``piece`` is the number of bytes per write; ``between`` is called before each further write with the number of bytes
        sent.
        """
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            for start in range(0, len(raw), piece):
                if between and start:
                    await between(start)
                writer.write(raw[start : start + piece])
            async with asyncio.timeout(ARRIVAL_TIMEOUT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                headers = head.lower()
                length = int(headers.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                body = await reader.readexactly(length)
            return Raw(int(head.split(b" ", 2)[1]), headers, body)
        finally:
            writer.close()

    def post(self, body: bytes, *, headers: bytes = b"", path: bytes = b"/api/v1/payments", key: bytes = b"k") -> bytes:
        """Return a valid POST of ``body`` as bytes, for a test to damage."""
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
        """Return a GET of ``path`` as bytes."""
        return (
            method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nAuthorization: " + self.token + b"\r\n" + headers + b"\r\n"
        )


class Connection:
    """A connection for any number of requests."""

    def __init__(self, wire: Wire) -> None:
        self._address = wire.address

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, raw: bytes) -> None:
        """Send bytes."""
        self._writer.write(raw)

    async def exchange(
        self, raw: bytes, count: int, *, piece: int | None = None, half_close: bool = False
    ) -> list[Raw]:
        """Send bytes, at once or in pieces, and read ``count`` answers."""
        for start in range(0, len(raw), piece or len(raw)):
            self._writer.write(raw[start : start + (piece or len(raw))])
            if piece:
                await self._writer.drain()
                await asyncio.sleep(0)  # lets the API, which runs on the same loop, read the bytes
        if half_close:
            self._writer.write_eof()
        async with asyncio.timeout(ARRIVAL_TIMEOUT_SECONDS * 6):
            return [await self._answer() for _ in range(count)]

    async def ended(self) -> bool:
        """Wait until the API closes the connection; return whether it sent nothing before."""
        async with asyncio.timeout(ARRIVAL_TIMEOUT_SECONDS):
            return await self._reader.read() == b""

    async def _answer(self) -> Raw:
        head = await self._reader.readuntil(b"\r\n\r\n")
        headers = head.lower()
        length = int(headers.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        return Raw(int(head.split(b" ", 2)[1]), headers, await self._reader.readexactly(length))


def payment(wire: Wire, number: int, headers: bytes = b"") -> bytes:
    """Return a payment request whose number appears in its answer."""
    return wire.post(_body(number), key=b"k%03d" % number, headers=headers)


def chunked(wire: Wire, number: int, trailers: bytes = b"", *, extension: bytes = b"") -> bytes:
    """Return a payment request whose body is sent in two chunks."""
    body = _body(number)
    head = wire.post(b"", key=b"k%03d" % number).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunks = [b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in (body[:10], body[10:])]
    return head + b"".join(chunks) + b"0\r\n" + trailers + b"\r\n"


def _body(number: int) -> bytes:
    return CASH[:-1] + b',"client_reference":"r%03d"}' % number

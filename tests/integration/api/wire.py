"""Bytes on a line, and the one answer to them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson

from tests.factories import Tenant
from tests.harness import Api

ALLOWED = {200, 201, 204, 400, 401, 403, 404, 409, 422, 429}
PATIENCE_SECONDS = 10.0
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

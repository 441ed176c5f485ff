"""A minimal HTTP/1.1 client for the load generator: one keep-alive connection per terminal.

A general client takes more CPU time per request than the product spends on a whole payment, on the same two cores. This one
writes prepared bytes and reads a status, a length and a body, in about 0.03 ms per request.
"""

import asyncio
from itertools import count
from typing import NamedTuple, cast

ANSWER_WITHIN_SECONDS = 60  # of an overloaded target; a longer wait counts as an error
WAIT_SECONDS = 25  # the longest wait that the API allows


class Answer(NamedTuple):
    """A response."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One connection that sends one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[Answer] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent now. Servers close connections that were idle for some seconds."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes) -> Answer:
        """Send ``request`` and return its response.

        Raises ``ConnectionError`` if the server closes the connection.
        """
        if self._transport is None:
            raise ConnectionError("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport. The event loop calls this."""
        # uvloop's transport has the methods but not the base class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Fail the open request. The event loop calls this."""
        self._transport = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Parse the data that arrived, and complete the open request. The event loop calls this."""
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        start = self._buffer.lower().find(b"content-length:", 0, end)
        length = int(self._buffer[start + 15 : self._buffer.index(b"\r\n", start)]) if start >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        answer = Answer(int(self._buffer[9:12]), self._buffer[end + 4 : end + 4 + length])
        self._buffer = b""
        if self._answer and not self._answer.done():
            self._answer.set_result(answer)


class Terminal:
    """A device that submits payments over its own connection."""

    _numbers = count()

    def __init__(self, host: str, port: int, token: str, run: str) -> None:
        self._address = (host, port)
        self._run = run
        self._head = (
            f"POST /api/v1/payments HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nIdempotency-Key: "
        )
        self._rest_of_head = f" HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._connection = Connection()

    async def connect(self) -> None:
        """Open the connection, if it is not open."""
        if not self._connection.is_open:
            loop = asyncio.get_running_loop()
            _, self._connection = await loop.create_connection(Connection, *self._address)

    async def submit(self) -> Answer:
        """Submit a payment: a QR code that the customer shows, charged by the sandbox provider."""
        number = f"{self._run}-{next(self._numbers)}"
        body = (
            f'{{"amount":1000,"currency":"JPY","method":{{"type":"qr","mode":"cpm"}},"client_reference":"{number}",'
            f'"metadata":{{"lane":"3"}}}}'
        )
        await self.connect()
        return await self._connection.exchange(
            f"{self._head}{number}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )

    async def wait_for_change(self, payment_id: str, version: int) -> Answer:
        """Wait until the payment is newer than ``version``, as terminals do: by a GET that the API holds open."""
        await self.connect()
        path = f"/api/v1/payments/{payment_id}?wait={WAIT_SECONDS}&since_version={version}"
        return await self._connection.exchange(f"GET {path}{self._rest_of_head}".encode())

    async def cancel(self, payment_id: str) -> Answer:
        """Cancel a payment."""
        await self.connect()
        rest = self._rest_of_head.replace(
            "\r\n\r\n", "\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )
        return await self._connection.exchange(f"POST /api/v1/payments/{payment_id}/cancel{rest}".encode())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def payment_state(body: bytes) -> tuple[str, int]:
    """Return the status and the version of the payment in a response."""
    start = body.index(b'"status":"') + 10
    number = body.index(b'"version":') + 10
    return body[start : body.index(b'"', start)].decode(), int(body[number : body.index(b",", number)])


def payment_id(body: bytes) -> str:
    """Return the id of the payment in a response."""
    start = body.index(b'"id":"') + 6
    return body[start : body.index(b'"', start)].decode()

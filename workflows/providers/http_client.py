"""HTTP/1.1 client for provider calls: one request, one bounded answer, and never an answer that belongs to another request.

A general client may return bytes that arrived on an idle connection as the answer to the next request. It reads an answer of
any size, and does not report whether the request may have been sent. For calls that move money, all three matter:

| event                                                                | result                                   |
|----------------------------------------------------------------------|------------------------------------------|
| no connection: DNS, refused, time-out, TLS, no free slot             | ``NotConnected``: nothing was sent       |
| anything except one complete answer, in time and within the limits   | ``NoAnswer``: the outcome is not known   |
| bytes on an idle connection, or after a complete answer              | the connection is closed                 |
| the adapter does not accept the answer with ``keep_alive()``         | the connection is closed                 |
| the answer has a different ``Mpac-Call-Id`` than its request         | ``NoAnswer``                             |
| ``not_after`` has passed before the request is written               | ``NotConnected``: nothing was sent       |

``Mpac-Call-Id`` is our own header, which gateways do not change. ``X-Request-Id`` is for logs and never compared, because
gateways often replace it with their own id, which the provider then repeats.

No redirects, no compression, no cookies, no proxies.
"""

import asyncio
import secrets
import select
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

from workflows.providers.base import NEVER
from workflows.providers.http_reader import LARGEST_BODY, HttpAnswer, NoAnswer, NotConnected, Reader

CALL_ID = "Mpac-Call-Id"
ANSWERED_ID = CALL_ID.lower()

KEEPALIVE_SECONDS = 15  # below the provider's 75 s, so that nothing is written to a connection that it is closing
CONNECT_TIMEOUT_SECONDS = 3  # short is safe: without a connection, the provider has certainly done nothing


class _Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._arrived = select.poll()
        self._reader: Reader | None = None
        self._answered: asyncio.Future[HttpAnswer] | None = None
        self._name = secrets.token_hex(6)
        self._requests = 0
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._arrived.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def is_quiet(self) -> bool:
        """Return whether the connection is open and no byte has arrived since the last answer."""
        return not self._transport.is_closing() and not self._arrived.poll(0)

    async def exchange(self, head: str, body: bytes, *, largest_body: int, deadline: float) -> HttpAnswer:
        """Write a request and read its answer.

        Raises ``NotConnected`` if the connection was closed before the request was written, and ``NoAnswer`` if no complete
        answer to it arrives by ``deadline``.
        """
        if self._transport.is_closing():
            raise NotConnected("the connection was closed before the request")
        loop = asyncio.get_running_loop()
        self._requests += 1
        call_id = f"{self._name}-{self._requests}"
        self._reader = Reader(largest_body)
        self._answered = loop.create_future()
        too_late = loop.call_at(deadline, self._fail, NoAnswer("no answer in time"))
        try:
            ids = f"{CALL_ID}: {call_id}\r\nX-Request-Id: {call_id}\r\n\r\n"
            self._transport.write(f"{head}{ids}".encode("latin-1") + body)
            answer = await self._answered
        finally:
            too_late.cancel()
        if answer.headers.get(ANSWERED_ID, call_id) != call_id:
            raise NoAnswer("the answer names another request")
        return answer

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:  # no request is open, so these bytes are not an answer
            self.close()
            return
        try:
            reader.feed(data)
        except NoAnswer as error:
            self._fail(error)
            return
        if reader.is_complete:
            self._finish(reader)

    def connection_lost(self, exc: Exception | None) -> None:
        reader = self._reader
        if reader is not None and exc is None and reader.finish():
            self._finish(reader)
        else:
            self._fail(NoAnswer(f"the connection ended: {type(exc).__name__}" if exc else "the connection ended"))

    def close(self) -> None:
        """Drop the connection, with all bytes that are not read or not sent yet."""
        self._fail(NoAnswer("the connection was dropped"))

    def _finish(self, reader: Reader) -> None:
        self._reader = None
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(reader.answer())
        reader.release()
        if reader.is_followed:
            self._transport.abort()

    def _fail(self, error: NoAnswer) -> None:
        if self._reader is not None:
            self._reader.release()
            self._reader = None
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
        self._transport.abort()


class HttpClient:
    """A client for one server, with a pool of connections. It belongs to the event loop of its first call."""

    def __init__(self, url: str, *, headers: Mapping[str, str], limit: int, timeout_seconds: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("A provider's address must begin with http:// or https:// and name a host")
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        place = parts.netloc.rpartition("@")[2]
        lines = {"Host": place, "User-Agent": "mpac", "Accept-Encoding": "identity", **headers}
        if not all(value.isprintable() and value.isascii() for value in lines.values()):
            raise ValueError("A header must be one line of ASCII text")
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(limit)
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        largest_body: int = LARGEST_BODY,
        not_after: float = NEVER,
    ) -> AsyncIterator[HttpAnswer]:
        """Send a request and yield its answer.

        The connection is closed unless ``keep_alive()`` of the answer is called. Nothing is sent after the loop's time
        ``not_after``. Raises ``NotConnected`` or ``NoAnswer``, at the latest after the client's timeout.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        send_by = min(deadline, not_after)
        head = f"{method} {self._prefix}{target} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n"
        if self._slots.locked():
            await self._acquire_slot(send_by)
        else:
            await self._slots.acquire()
        is_reusable = False
        try:
            connection = self._take_idle(loop.time()) or await self._connect(send_by)
            try:
                if loop.time() >= send_by:
                    raise NotConnected("it was too late to send")
                answer = await connection.exchange(head, body, largest_body=largest_body, deadline=deadline)
                yield answer
                is_reusable = answer.is_kept_alive and connection.is_quiet()
            finally:
                if is_reusable:
                    connection.idle_since = loop.time()
                    self._idle.append(connection)
                else:
                    self._drop(connection)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Drop all connections."""
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._idle.clear()

    async def _acquire_slot(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            raise NotConnected("no slot for another call") from None

    def _take_idle(self, now: float) -> _Connection | None:
        """Return the most recently used connection that is open and has no unread bytes.

        Drop the connections that are not usable.
        """
        while self._idle and now - self._idle[0].idle_since > KEEPALIVE_SECONDS:
            self._drop(self._idle.popleft())
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            self._drop(connection)
        return None

    def _drop(self, connection: _Connection) -> None:
        connection.close()
        self._open.discard(connection)

    async def _connect(self, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + CONNECT_TIMEOUT_SECONDS)
        try:
            async with asyncio.timeout_at(until):
                reached = await self._reach(until)
                try:
                    _, connection = await loop.create_connection(
                        _Connection, sock=reached, ssl=self._tls, server_hostname=self._host if self._tls else None
                    )
                except BaseException:
                    reached.close()
                    raise
        except (OSError, UnicodeError) as error:
            raise NotConnected(f"no connection: {type(error).__name__}") from error
        self._open.add(connection)
        return connection

    async def _reach(self, until: float) -> socket.socket:
        """Connect to the first of the server's addresses that accepts.

        Each address gets an equal share of the remaining time.
        """
        loop = asyncio.get_running_loop()
        addresses: list[tuple[Any, ...]] = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        failure: OSError = OSError("the name has no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            share = (until - loop.time()) / (len(addresses) - number)
            reached = socket.socket(family, kind, protocol)
            try:
                reached.setblocking(False)
                async with asyncio.timeout(share):
                    await loop.sock_connect(reached, address)
                return reached
            except BaseException as error:
                reached.close()
                if not isinstance(error, OSError):
                    raise
                failure = error
        raise failure

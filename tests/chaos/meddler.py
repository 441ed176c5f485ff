"""A relay between the product and its provider that can change answers, as load balancers and firewalls do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HTML = b"<html><body><h1>503 Service Unavailable</h1></body></html>"
CHARGES = "POST /v1/charges "
Meddle = Callable[[str, bytes], bytes]
"""A function of a request line and the provider's answer that returns the bytes to send instead."""


def unchanged(_request: str, answer: bytes) -> bytes:
    """Return the answer unchanged."""
    return answer


def doubled(_request: str, answer: bytes) -> bytes:
    """Return the answer twice."""
    return answer + answer


def error_page(status: int) -> Meddle:
    """Return a function that replaces every answer by an error page with ``status``."""
    head = (
        f"HTTP/1.1 {status} Because\r\nContent-Type: text/html\r\nRetry-After: 1\r\nContent-Length: {len(HTML)}\r\n\r\n"
    )
    return lambda _request, _answer: head.encode() + HTML


@dataclass
class Meddler:
    """Relay requests; if a request begins with ``meddled``, its answer is changed by ``meddle``.

    With ``repeats_idle`` those answers are sent a second time after the client has read them: on an idle connection, or
    before the next request's answer.
    """

    upstream: str
    url: str = ""
    meddled: str = CHARGES
    meddle: Meddle = unchanged
    repeats_idle: bool = False
    count: int = 0
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def reset(self) -> None:
        """Reset everything: relay all answers unchanged."""
        self.meddled, self.meddle, self.repeats_idle, self.count = CHARGES, unchanged, False, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay the requests of one connection."""
        place = urlsplit(self.upstream)
        theirs, to_theirs = await asyncio.open_connection(place.hostname, place.port)
        try:
            while True:
                request = await _message(reader)
                to_theirs.write(request)
                answer = await _message(theirs)
                first = request.partition(b"\r\n")[0].decode()
                if not first.startswith(self.meddled):
                    writer.write(answer)
                    continue
                self.count += self.meddle is not unchanged or self.repeats_idle
                writer.write(self.meddle(first, answer))
                await writer.drain()
                if self.repeats_idle:
                    await asyncio.sleep(0.01)
                    writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            to_theirs.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read a complete request or answer, whose length is in its headers."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line.partition(":") for line in head.decode("latin-1").lower().split("\r\n")]
    size = next((int(value) for name, _, value in lines if name == "content-length"), 0)
    return head + await reader.readexactly(size)


@asynccontextmanager
async def relay_before(upstream: str) -> AsyncIterator[Meddler]:
    """Run a relay in front of ``upstream``, and yield it."""
    meddler = Meddler(upstream)
    server = await asyncio.start_server(meddler.serve, "127.0.0.1", 0)
    meddler.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield meddler
    finally:
        server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await server.wait_closed()

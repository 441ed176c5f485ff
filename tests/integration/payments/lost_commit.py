"""A proxy to PostgreSQL that loses the answers to COMMITs: the server commits, and the client gets no answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy.engine import make_url

from tests.relay import in_front_of

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


@dataclass
class Wire:
    """A proxy that cuts the connection at each of the next ``loses`` COMMITs, and forwards the COMMIT only if ``arrives``."""

    host: str
    port: int
    loses: int = 0
    arrives: bool = True
    cut: int = 0
    _pumps: set[asyncio.Task[None]] = field(default_factory=set)

    async def connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(self.host, self.port)
        answers = asyncio.ensure_future(self._answers(server, to_client))
        self._pumps.add(answers)
        try:
            while asked := await client.read(65_536):
                if COMMIT in asked and self.loses:
                    self.loses -= 1
                    self.cut += 1
                    answers.cancel()
                    await asyncio.wait([answers])
                    to_client.transport.abort()
                    if self.arrives:
                        to_server.write(asked)
                        await server.read(1)  # the server has answered, so the COMMIT has taken effect
                    break
                to_server.write(asked)
        except ConnectionError:
            pass
        finally:
            answers.cancel()
            to_server.close()
            to_client.close()

    async def _answers(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while answered := await server.read(65_536):
                to_client.write(answered)
        to_client.close()


@asynccontextmanager
async def wire_to(database_url: str) -> AsyncIterator[tuple[Wire, str]]:
    """Yield the proxy, and the URL of the same database through it."""
    url = make_url(database_url)
    wire = Wire(url.host or "127.0.0.1", url.port or 5432)
    async with in_front_of(url, wire.connected) as address:
        yield wire, address

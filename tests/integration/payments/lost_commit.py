"""A proxy to PostgreSQL that loses answers to commits: the server commits, and the client gets no answer.

A commit is a COMMIT, or one of the statements that are a transaction of their own: the start of a claim, and the recording of
payments without bills.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy.engine import make_url

from tests.relay import in_front_of

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
PREPARES = re.compile(rb"P....(\w+)\x00\s*-- (?:start|record):", re.DOTALL)
EXECUTES = re.compile(rb"B....\x00(\w+)\x00", re.DOTALL)
"""Messages of PostgreSQL's protocol: Parse with the text of a statement that commits, and Bind of a prepared statement."""


class Commits:
    """Recognises what a client sends that commits. Prepared statements are named per connection."""

    def __init__(self) -> None:
        self._names: set[bytes] = set()

    def are_in(self, sent: bytes, *, statements: bool) -> bool:
        self._names.update(PREPARES.findall(sent))
        return COMMIT in sent or (statements and not self._names.isdisjoint(EXECUTES.findall(sent)))


@dataclass
class Wire:
    """A proxy that cuts the connection at each of the next ``loses`` commits, and forwards the commit only if ``arrives``.

    It forwards the first ``skips`` commits as they are.

    Statements that are a transaction of their own count only if ``statements`` is set.
    """

    host: str
    port: int
    loses: int = 0
    skips: int = 0
    arrives: bool = True
    statements: bool = True
    cut: int = 0
    _pumps: set[asyncio.Task[None]] = field(default_factory=set)

    async def connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(self.host, self.port)
        answers = asyncio.ensure_future(self._answers(server, to_client))
        self._pumps.add(answers)
        commits = Commits()
        try:
            while asked := await client.read(65_536):
                is_commit = commits.are_in(asked, statements=self.statements)
                if is_commit and self.skips:
                    self.skips -= 1
                elif is_commit and self.loses:
                    self.loses -= 1
                    self.cut += 1
                    answers.cancel()
                    await asyncio.wait([answers])
                    to_client.transport.abort()
                    if self.arrives:
                        to_server.write(asked)
                        await server.read(1)  # the server has answered, so the commit has taken effect
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

"""A proxy in front of the database that cuts idle connections, as firewalls and failovers do."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

from sqlalchemy.engine import make_url

from tests.relay import in_front_of


class Cut(Enum):
    """How a connection is cut."""

    FIN = "fin"
    RST = "rst"
    SILENCE = "silence"
    """The proxy drops all bytes in both directions, and notifies neither side."""


class Proxy:
    """Relay bytes between clients and a server, until connections are cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent: set[asyncio.StreamWriter] = set()

    @property
    def connections(self) -> int:
        """The number of connections that still relay bytes."""
        return sum(not client.is_closing() and client not in self._silent for client, _ in self._pairs)

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Relay one client connection to the server in both directions."""
        server, to_server = await asyncio.open_connection(*self._target)
        self._pairs.append((to_client, to_server))
        for reader, writer in ((client, to_server), (server, to_client)):
            task = asyncio.create_task(self._pass_on(reader, writer, to_client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        try:
            while piece := await reader.read(65_536):
                if client in self._silent:
                    continue
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        if client not in self._silent:
            writer.close()

    def cut(self, how: Cut) -> int:
        """Cut every open connection, and return their number."""
        live = [pair for pair in self._pairs if not pair[0].is_closing() and pair[0] not in self._silent]
        for client, server in live:
            if how is Cut.SILENCE:
                self._silent.add(client)
                continue
            if how is Cut.RST:
                raw: socket.socket = client.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.transport.abort()
            client.close()
            server.close()
        return len(live)

    async def stop(self) -> None:
        """Close all connections and wait for their tasks."""
        for client, server in self._pairs:
            client.close()
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy in front of the server of ``url``, and the URL of the same database through the proxy."""
    server = make_url(url)
    proxy = Proxy(server.host or "127.0.0.1", server.port or 5432)
    try:
        async with in_front_of(server, proxy.serve) as address:
            yield proxy, address
    finally:
        await proxy.stop()

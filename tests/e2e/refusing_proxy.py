"""A reverse proxy that refuses the first request of each kind, as an overloaded server does.

| attempt of a kind | what the client sees                                                                        |
|-------------------|---------------------------------------------------------------------------------------------|
| first             | 503 with a load balancer's error page; the server does not receive the request              |
| second            | the connection is closed without an answer, after the server has processed the request      |
| later             | the server's answer                                                                          |

A kind is a method and a path without its ids.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

IDS = re.compile(r"[a-z]{3}_[0-9A-Za-z-]+(:\d+)?")
HOP_BY_HOP = {"transfer-encoding", "content-length", "content-encoding", "connection", "date", "server"}
HANGS_AFTER_SECONDS = 60


class RefusingProxy:
    """A proxy for one server of a stack. ``attempts`` counts requests by kind."""

    def __init__(self, run_file: Path, server: str, session: aiohttp.ClientSession) -> None:
        self.attempts: Counter[str] = Counter()
        self._run_file = run_file
        self._server = server
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Refuse the request, forward it and drop the answer, or forward both, by the number of the attempt."""
        kind = f"{request.method} {IDS.sub('{id}', request.path)}"
        self.attempts[kind] += 1
        if self.attempts[kind] == 1:
            return web.Response(
                status=503, text="<html>too busy</html>", content_type="text/html", headers={"Retry-After": "0"}
            )
        url = json.loads(self._run_file.read_text())[f"{self._server}_url"] + str(request.rel_url)
        sent = {name: value for name, value in request.headers.items() if name.lower() not in {"host", *HOP_BY_HOP}}
        body = await request.read()
        async with self._session.request(request.method, url, data=body or None, headers=sent) as answer:
            content = await answer.read()
        if self.attempts[kind] == 2:
            assert request.transport is not None
            request.transport.abort()
        told = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        return web.Response(status=answer.status, body=content, headers=told)


@asynccontextmanager
async def refusing_proxy(run_file: Path, server: str) -> AsyncIterator[tuple[str, RefusingProxy]]:
    """Run a proxy for ``server`` of the stack in ``run_file``; yield its address and the proxy.

    ``server`` is "api" or "sandbox".
    """
    timeout = aiohttp.ClientTimeout(total=HANGS_AFTER_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        proxy = RefusingProxy(run_file, server, session)
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        async with TestServer(app, host="127.0.0.1") as listening:
            yield str(listening.make_url("")).rstrip("/"), proxy

"""Building blocks of the fixtures: migrated databases, the API under a real uvicorn, and a small HTTP client."""

import asyncio
import io
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import orjson
import psycopg
import uuid_utils
import uvicorn
from alembic import command
from alembic.config import Config
from psycopg.sql import SQL, Identifier

from api.__main__ import KEEP_ALIVE_SECONDS
from api.app import create_app
from api.http1.protocol import SequentialProtocol
from api.runtime import API_ROLES
from tests.contract import check_exchange
from tests.factories import Signer, Tenant
from tests.polling import DEADLINE_SECONDS, STEP_SECONDS
from workflows.database.engines import Role, connect, disconnect
from workflows.settings import Settings

ROOT = Path(__file__).parents[1]
TEMPLATE = "mpac_template"


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the block. Processes that other tests start meanwhile inherit them."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def database_variable(url: str) -> AbstractContextManager[None]:
    """Set ``MPAC_DATABASE_URL``, from which alembic reads its database, inside the block."""
    return variables({"MPAC_DATABASE_URL": url})


def alembic_config() -> Config:
    """Return alembic's configuration from ``pyproject.toml``, without its output."""
    return Config(toml_file=ROOT / "pyproject.toml", stdout=io.StringIO())


async def migrate(url: str, revision: str = "head") -> None:
    """Run ``alembic upgrade`` in this process, because a new process would spend two seconds on imports."""
    with database_variable(url):
        await asyncio.to_thread(command.upgrade, alembic_config(), revision)


def other_database(url: str, name: str) -> str:
    """Return the URL of database ``name`` on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def template_from(url: str) -> None:
    """Copy the freshly migrated database to a template database, to which nothing ever connects."""
    await _on_server(url, SQL("CREATE DATABASE {} TEMPLATE {}"), TEMPLATE, urlsplit(url).path.strip("/"))


@asynccontextmanager
async def clone_of_template(url: str) -> AsyncIterator[str]:
    """Yield the URL of a new migrated database, which is dropped afterwards."""
    async with empty_database(url, template=TEMPLATE) as clone:
        yield clone


@asynccontextmanager
async def empty_database(url: str, *, template: str = "template0") -> AsyncIterator[str]:
    """Yield the URL of a new database made from ``template``, and drop the database afterwards.

    The database is dropped even if connections are open.
    """
    name = f"test_{uuid_utils.uuid7().hex}"
    await _on_server(url, SQL("CREATE DATABASE {} TEMPLATE {}"), name, template)
    try:
        yield other_database(url, name)
    finally:
        await _on_server(url, SQL("DROP DATABASE {} WITH (FORCE)"), name)


async def _on_server(url: str, statement: SQL, *names: str) -> None:
    async with await psycopg.AsyncConnection.connect(other_database(url, "postgres"), autocommit=True) as connection:
        await connection.execute(statement.format(*(Identifier(name) for name in names)))


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response: ``body`` is its decoded JSON."""

    status: int
    body: Any
    raw: bytes
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The error code."""
        code: str = self.body["error"]["code"]
        return code

    @property
    def details(self) -> list[dict[str, str]]:
        """The error details."""
        details: list[dict[str, str]] = self.body["error"]["details"]
        return details


def _json(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # an integer beyond 64 bits, which a client may send
        return json.dumps(body).encode()


class Api:
    """A client of a running API. Paths are relative to ``/api/v1`` unless they begin with ``//``."""

    def __init__(self, url: str, signer: Signer, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.signer = signer
        self._session = session

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        as_: Tenant | str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request as ``as_``: a tenant (its device calls) or a token.

        ``body`` is sent as JSON unless it is bytes.
        """
        sent = dict(headers or {})
        if as_ is not None:
            sent.setdefault("Authorization", f"Bearer {as_ if isinstance(as_, str) else self.signer.device(as_)}")
        if key is not None:
            sent.setdefault("Idempotency-Key", key)
        data = body
        if body is not None and not isinstance(body, bytes):
            data = _json(body)
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        url = self.url + (path[1:] if path.startswith("//") else f"/api/v1{path}")
        async with self._session.request(method, url, data=data, headers=sent, allow_redirects=False) as answer:
            raw = await answer.read()
            check_exchange(method, url.removeprefix(self.url), sent, data, answer.status, answer.headers, raw)
            is_json = answer.content_type == "application/json"
            return Answer(answer.status, orjson.loads(raw) if raw and is_json else None, raw, answer.headers)

    async def get(self, path: str, **rest: Any) -> Answer:
        """Send a GET."""
        return await self.call("GET", path, **rest)

    async def post(self, path: str, body: Any = None, **rest: Any) -> Answer:
        """Send a POST."""
        return await self.call("POST", path, body, **rest)

    async def events(self, path: str, *, as_: Tenant | str) -> AsyncGenerator[Any]:
        """Yield the data of server-sent events as they arrive. ``as_`` is the same as for ``call``."""
        headers = {"Authorization": f"Bearer {as_ if isinstance(as_, str) else self.signer.device(as_)}"}
        async with self._session.get(f"{self.url}/api/v1{path}", headers=headers) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            check_exchange("GET", f"/api/v1{path}", headers, None, answer.status, answer.headers, b"")
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield orjson.loads(line[6:])

    async def pay(
        self, as_: Tenant | str, *, key: str | None = None, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Answer:
        """Submit a payment of 1,000 yen in cash, changed by ``fields``; ``key`` is random by default."""
        body = {"amount": 1_000, "method": {"type": "cash"}, **fields}
        return await self.post("/payments", body, as_=as_, key=key or uuid_utils.uuid7().hex, headers=headers)


UVICORN: dict[str, Any] = {
    "log_config": None,
    "access_log": False,
    "loop": "none",
    "http": SequentialProtocol,
    "proxy_headers": False,  # as api.__main__ has it
    "lifespan": "on",
    "timeout_graceful_shutdown": 2,
    "timeout_keep_alive": KEEP_ALIVE_SECONDS,
}


class _Server(uvicorn.Server):
    """A uvicorn server that installs no signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signal handlers to pytest."""
        yield


@asynccontextmanager
async def running_api(settings: Settings, signer: Signer, *, usual: Settings | None = None) -> AsyncIterator[Api]:
    """Run the application under uvicorn on a free port, and yield a client.

    The application runs on the event loop of the tests. The engines are global to the process: the application connects
    them when it starts, and the tests get them back afterwards, with the ``usual`` settings if those differ.
    """
    await disconnect()
    handlers = logging.getLogger().handlers[:]
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(settings.model_copy(update={"public_url": settings.public_url or url}))
    logging.getLogger().handlers[:] = handlers  # pytest's own, so that caplog receives the log of the application
    server = _Server(uvicorn.Config(app, **UVICORN))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not server.started:
                assert not serving.done(), "the application did not start"
                await asyncio.sleep(STEP_SECONDS)
        connect(settings, roles=tuple({*Role} - {*API_ROLES}))  # roles that the tests use beside the application
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
            yield Api(url, signer, session)
    finally:
        server.should_exit = True
        await serving
        listener.close()
        await disconnect()
        connect(usual or settings)

"""The targets of a benchmark: how each is started and stopped, how it gets terminals, and which processes belong to it.

All share one PostgreSQL, one Valkey and one sandbox provider. Only one of them runs at a time.
"""

import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import jwt
import psycopg
from sqlalchemy import create_engine

from benchmarks.rivals.orm_celery.models import Base, Device
from benchmarks.seed import Device as SeededDevice
from benchmarks.seed import create_devices, request_tokens
from mpac.stack import commands
from mpac.stack.local_stack import LocalStack
from mpac.stack.ports import HOST, ReservedPorts, choose_ports
from mpac.stack.probes import READY_FILE_VARIABLE, answers_http, wrote_its_pid
from mpac.stack.process_output import FileOutput
from mpac.stack.service_process import ServiceProcess
from mpac.stack.state_folder import private_folder
from mpac.stack.supervisor import Supervisor

SHARED = ("postgres", "valkey", "sandbox")
PRODUCT = ("api", "worker-payments-1", "worker-other", "beat", "flower")
DEVICES = 64


class Target(Protocol):
    """A system that is measured."""

    name: str

    @property
    def pids(self) -> Mapping[str, int]:
        """The pids of its processes and of the servers that it uses, by name."""
        ...

    @property
    def address(self) -> str:
        """The address of its API, ``http://host:port``."""
        ...

    @property
    def database_url(self) -> str:
        """The URL of the database with the target's payments."""
        ...

    async def start(self) -> None:
        """Start the target's processes, and wait until they serve."""
        ...

    async def stop(self) -> None:
        """Stop all processes of the target."""
        ...

    async def tokens(self) -> list[str]:
        """Return one fresh bearer token per device."""
        ...


class Product:
    """MPAC SmartPOS Payments, started as by ``python3 run.py up``."""

    name = "product"

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._devices: list[SeededDevice] = []

    @property
    def pids(self) -> Mapping[str, int]:
        return {name: self._stack.pids[name] for name in (*SHARED, *PRODUCT)}

    @property
    def address(self) -> str:
        return self._stack.urls.api

    @property
    def database_url(self) -> str:
        return self._stack.urls.database

    async def start(self) -> None:
        for name in PRODUCT:
            if name not in self._stack.pids:
                await self._stack.start(name)

    async def stop(self) -> None:
        for name in reversed(PRODUCT):
            await self._stack.stop(name)

    async def tokens(self) -> list[str]:
        if not self._devices:
            self._devices = await create_devices(self._stack, DEVICES)
        return await request_tokens(self.address, self._devices)


@dataclass(frozen=True, slots=True)
class _RivalAddresses:
    """The rival's addresses."""

    port: int
    database_url: str
    environment: dict[str, str]


class OrmCelery:
    """The rival, which ``benchmarks/rivals/orm_celery/README.md`` describes."""

    name = "orm_celery"

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._reserved = ReservedPorts()  # reserved now, because the product is measured first, for minutes
        port = choose_ports("free", ["api"], reserved=self._reserved)["api"]
        database_url = urlunsplit(urlsplit(stack.urls.database)._replace(path="/rival_orm_celery"))
        broker = urlunsplit(urlsplit(stack.urls.broker)._replace(path="/1"))
        environment = {
            "RIVAL_DATABASE_URL": database_url.replace("postgresql://", "postgresql+psycopg://"),
            "RIVAL_BROKER_URL": broker,
            "RIVAL_SANDBOX_URL": stack.urls.sandbox,
            "RIVAL_SANDBOX_API_KEY": stack.environment["MPAC_SANDBOX_API_KEY"],
            "RIVAL_TOKEN_SECRET": secrets.token_hex(32),
        }
        self._addresses = _RivalAddresses(port, database_url, environment)
        self._supervisor = Supervisor(FileOutput(stack.home), restart=False, changed=lambda: None)
        self._is_made = False

    @property
    def pids(self) -> Mapping[str, int]:
        shared = {name: self._stack.pids[name] for name in SHARED}
        return {**shared, **self._supervisor.pids}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self._addresses.port}"

    @property
    def database_url(self) -> str:
        return self._addresses.database_url

    async def start(self) -> None:
        if not self._is_made:
            await self._make_database()
            self._is_made = True
        for program in self._programs():
            self._supervisor.start(program)
            await self._supervisor.wait_ready(program.name)

    async def stop(self) -> None:
        for name in reversed(self._supervisor.names):
            await self._supervisor.stop(name)

    async def tokens(self) -> list[str]:
        secret, expiry = self._addresses.environment["RIVAL_TOKEN_SECRET"], int(time.time()) + 3600
        return [jwt.encode({"sub": f"dev_{n}", "exp": expiry}, secret, algorithm="HS256") for n in range(DEVICES)]

    async def _make_database(self) -> None:
        connect = psycopg.AsyncConnection.connect
        async with await connect(self._stack.urls.database, autocommit=True) as connection:
            await connection.execute("DROP DATABASE IF EXISTS rival_orm_celery WITH (FORCE)")
            await connection.execute("CREATE DATABASE rival_orm_celery")
        engine = create_engine(self._addresses.environment["RIVAL_DATABASE_URL"])
        with engine.begin() as connection_now:
            Base.metadata.create_all(connection_now)
            rows = [
                {"id": f"dev_{n}", "merchant_id": "mer_1", "store_id": "sto_1", "status": "active"}
                for n in range(DEVICES)
            ]
            connection_now.execute(Device.__table__.insert(), rows)  # type: ignore[attr-defined]  # a table, not a FromClause
        engine.dispose()

    def _programs(self) -> tuple[ServiceProcess, ServiceProcess]:
        module = "benchmarks.rivals.orm_celery"
        ready_file: Path = private_folder(self._stack.home.ready) / "rival-worker"
        celery = commands.CELERY[: commands.CELERY.index("--app")]
        return (
            ServiceProcess(
                name="rival-api",
                command=(
                    *(
                        sys.executable,
                        "-m",
                        "uvicorn",
                        f"{module}.api:app",
                        "--host",
                        HOST,
                        "--port",
                        str(self._addresses.port),
                    ),
                    *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
                    *("--backlog", "4096"),
                ),
                environment=self._addresses.environment,
                ready=answers_http(self._addresses.port, "/health"),
            ),
            ServiceProcess(
                name="rival-worker",
                command=(
                    *(*celery, "--app", f"{module}.worker:app", "worker", "--pool", "threads", "--concurrency", "64"),
                    *("--task-events", "--without-gossip", "--without-mingle"),
                ),
                environment={**self._addresses.environment, READY_FILE_VARIABLE: str(ready_file)},
                ready=wrote_its_pid(ready_file),
                grace_seconds=20,
            ),
        )

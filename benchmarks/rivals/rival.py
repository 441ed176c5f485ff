"""The parts that all rivals share as targets of a benchmark: a database, addresses, tokens and processes."""

import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import jwt
import psycopg
from sqlalchemy import create_engine, insert

from benchmarks.rivals.tables import Base, Device
from benchmarks.targets import DEVICES, SHARED
from mpac.stack.local_stack import LocalStack
from mpac.stack.ports import HOST, ReservedPorts, choose_ports
from mpac.stack.probes import READY_FILE_VARIABLE, answers_http, wrote_its_pid
from mpac.stack.process_output import FileOutput
from mpac.stack.service_process import ServiceProcess
from mpac.stack.state_folder import private_folder
from mpac.stack.supervisor import Supervisor


class Rival(ABC):
    """A rival with an API process and worker processes, and a database of its own in the stack's PostgreSQL."""

    name: str
    broker_database: int  # its number in Valkey; the product has 0

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._reserved = ReservedPorts()  # reserved now, because the product is measured first, for minutes
        self._port = choose_ports("free", ["api"], reserved=self._reserved)["api"]
        self._database_url = urlunsplit(urlsplit(stack.urls.database)._replace(path=f"/rival_{self.name}"))
        broker = urlunsplit(urlsplit(stack.urls.broker)._replace(path=f"/{self.broker_database}"))
        self._environment = {
            "RIVAL_DATABASE_URL": self._database_url.replace("postgresql://", "postgresql+psycopg://"),
            "RIVAL_BROKER_URL": broker,
            "RIVAL_SANDBOX_URL": stack.urls.sandbox,
            "RIVAL_SANDBOX_API_KEY": stack.environment["MPAC_SANDBOX_API_KEY"],
            "RIVAL_TOKEN_SECRET": secrets.token_hex(32),
        }
        self._supervisor = Supervisor(FileOutput(stack.home), restart=False, changed=lambda: None)
        self._is_made = False

    @property
    def pids(self) -> Mapping[str, int]:
        shared = {name: self._stack.pids[name] for name in SHARED}
        return {**shared, **self._supervisor.pids}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def database_url(self) -> str:
        return self._database_url

    async def start(self) -> None:
        if not self._is_made:
            await self._make_database()
            self._is_made = True
        for program in (self._api(), *self._workers()):
            self._supervisor.start(program)
            await self._supervisor.wait_ready(program.name)

    async def stop(self) -> None:
        for name in reversed(self._supervisor.names):
            await self._supervisor.stop(name)

    async def tokens(self) -> list[str]:
        secret, expiry = self._environment["RIVAL_TOKEN_SECRET"], int(time.time()) + 3600
        return [jwt.encode({"sub": f"dev_{n}", "exp": expiry}, secret, algorithm="HS256") for n in range(DEVICES)]

    @abstractmethod
    def _workers(self) -> tuple[ServiceProcess, ...]:
        """Return the worker processes."""

    def _api(self) -> ServiceProcess:
        return ServiceProcess(
            name="rival-api",
            command=(
                *(sys.executable, "-m", "uvicorn", f"benchmarks.rivals.{self.name}.api:app"),
                *("--host", HOST, "--port", str(self._port), "--backlog", "4096"),
                *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
            ),
            environment=self._environment,
            ready=answers_http(self._port, "/health"),
        )

    def _worker(self, name: str, command: tuple[str, ...]) -> ServiceProcess:
        """Return a worker process that writes its pid to a file when it is ready (``mpac.stack.ready_file``)."""
        ready_file: Path = private_folder(self._stack.home.ready) / name
        return ServiceProcess(
            name=name,
            command=command,
            environment={**self._environment, READY_FILE_VARIABLE: str(ready_file)},
            ready=wrote_its_pid(ready_file),
            grace_seconds=20,
        )

    async def _make_database(self) -> None:
        connect = psycopg.AsyncConnection.connect
        async with await connect(self._stack.urls.database, autocommit=True) as connection:
            await connection.execute(f"DROP DATABASE IF EXISTS rival_{self.name} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE rival_{self.name}")
        engine = create_engine(self._environment["RIVAL_DATABASE_URL"])
        with engine.begin() as connection_now:
            Base.metadata.create_all(connection_now)
            device = {"merchant_id": "mer_1", "store_id": "sto_1", "status": "active"}
            rows = [{"id": f"dev_{n}", **device} for n in range(DEVICES)]
            connection_now.execute(insert(Device), rows)
        engine.dispose()

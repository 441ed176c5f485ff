"""A local stack as a library: for `up`, for tests and for benchmarks.

::

    async with LocalStack(folder, workers=2, env={"MPAC_LEASE_SECONDS": "5"}, restart=False) as stack:
        stack.urls.api, stack.pids["worker-payments-1"], stack.environment
        stack.kill("worker-payments-1", signal.SIGKILL)
        await stack.start("worker-payments-1")

    async with local_servers(folder, durable=False) as servers:
        servers.urls.database, servers.urls.broker

Leaving the block stops everything in reverse order. If the process that entered it is killed, the kernel ends the children.
Enter it from the main thread: the parent-death signal follows the thread that started a child.
"""

import asyncio
import os
import signal
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from mpac.stack import services as stack_services
from mpac.stack.database_profile import MOVABLE, ORDINARY, DatabaseProfile, check_profile
from mpac.stack.environment import (
    CONTROL_KEY_VARIABLE,
    FLOWER_USER,
    RATE_LIMITS_OFF,
    Urls,
    product_environment,
    urls_of,
    with_users_own,
)
from mpac.stack.movable_clock import prepare_movable_clock, read_clock
from mpac.stack.ports import ReservedPorts, choose_ports
from mpac.stack.postgres import database_url, postgres
from mpac.stack.process_output import FileOutput, Output
from mpac.stack.run_file import RunInfo, clear_leftovers, exclusive_lock, start_time, write_run
from mpac.stack.schema import schema_is_current
from mpac.stack.secrets import load_secrets
from mpac.stack.service_process import Identity, ServiceProcess
from mpac.stack.state_folder import open_home
from mpac.stack.supervisor import Supervisor
from mpac.stack.valkey import valkey

WRITE_AGAIN_SECONDS = 1.0


class LocalStack:
    """The chosen services, started on entering and stopped on leaving."""

    def __init__(
        self,
        home: Path | str,
        *,
        ports: str = "free",
        workers: int = 1,
        services: Collection[str] = stack_services.ALL_SERVICES,
        later: Collection[str] = (),
        env: Mapping[str, str] | None = None,
        durable: bool = True,
        restart: bool = True,
        output: Output | None = None,
        profile: DatabaseProfile = ORDINARY,
    ) -> None:
        """Choose ports and read the secrets; nothing is started before the block is entered.

        ``ports``: see ``mpac.stack.ports``. ``env``: variables that override all others; an empty value unsets one.
        ``later``: services or processes not to wait for; entering returns without them while they start.
        ``durable=False`` turns fsync off, for tests that do not depend on it and delete their clusters.
        ``restart=False`` does not restart processes that died, for tests of what happens then.
        ``profile=MOVABLE`` starts on the database whose clock can be moved.
        """
        self.home = open_home(home)
        self._user = {name: value for name, value in {**os.environ, **(env or {})}.items() if value}
        check_profile(profile, self._user)
        self.profile = profile
        self.ahead_seconds = 0  # how far a movable clock was ahead when the stack started
        elsewhere = {service for variable, service in stack_services.REPLACED_BY.items() if variable in self._user}
        self._services = stack_services.check_services([service for service in services if service not in elsewhere])
        self._secrets = load_secrets(self.home)
        self._reserved = ReservedPorts()
        self._ports = choose_ports(ports, self._services, reserved=self._reserved)
        self._workers = workers
        self._later = frozenset(later)
        self._rest: asyncio.Task[None] | None = None
        self._durable = durable
        self._closing = ExitStack()
        self._late_run: asyncio.TimerHandle | None = None
        self._complete = False  # every process has been ready
        self._stopping = False
        self.urls: Urls = urls_of(self._ports, self._secrets, self._user, profile=profile)
        ours = {**product_environment(self.home, self.urls, self._secrets), **RATE_LIMITS_OFF}
        self.environment: dict[str, str] = with_users_own(ours, self._user)
        self._supervisor = Supervisor(output or FileOutput(self.home), restart=restart, changed=self._write_run)

    @property
    def pids(self) -> dict[str, int]:
        """The running processes by name."""
        return self._supervisor.pids

    @property
    def control_key(self) -> str:
        """The key of the sandbox's control routes: the user's if the sandbox is the user's, else ours."""
        ours = self._secrets["sandbox_control_key"] if "sandbox" in self._services else ""
        return self._user.get(CONTROL_KEY_VARIABLE) or ours

    @property
    def flower_auth(self) -> tuple[str, str]:
        """The user and password of Flower."""
        return (
            self.environment.get("MPAC_FLOWER_USER", FLOWER_USER),
            self.environment["MPAC_FLOWER_PASSWORD"],
        )

    async def __aenter__(self) -> Self:
        self._closing.enter_context(exclusive_lock(self.home))
        try:
            clear_leftovers(self.home)
            postponed = [await self._start_tier(tier) for tier in stack_services.TIERS]
            self._rest = asyncio.create_task(self._start_rest(postponed))
            if not self._later:
                await self._rest
        except BaseException:
            await self._stop_all()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_all()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process; ``restart`` decides what follows."""
        self._supervisor.kill(name, number)

    def identity_of(self, name: str) -> Identity:
        """Return the identity that a process runs as."""
        return self._supervisor.spec(name).identity

    async def start(self, name: str) -> None:
        """Start a process that was stopped or has died, and wait until it is ready."""
        await self._supervisor.start_again(name)
        await self._supervisor.wait_ready(name)

    async def stop(self, name: str) -> None:
        """Stop one process as at the end of the stack: with its stop signal and grace period."""
        await self._supervisor.stop(name)

    async def wait_ready(self, name: str, *, timeout_seconds: float | None = None) -> None:
        """Wait until a process is ready, for instance after ``kill`` with ``restart=True``."""
        await self._supervisor.wait_ready(name, timeout_seconds=timeout_seconds)

    async def wait_all(self) -> None:
        """Wait for the ``later`` services too. Raises ``UserError`` if one of them could not be started."""
        if self._rest:
            await asyncio.shield(self._rest)

    async def _start_tier(self, tier: Collection[str]) -> list[ServiceProcess]:
        """Start a tier and wait until it is ready; return the processes that start later."""
        made = await asyncio.gather(*(self._specs_of(service) for service in tier if service in self._services))
        specs = [spec for group in made for spec in group]
        postponed = [spec for spec in specs if {spec.name, _service_of(spec.name)} & self._later]
        await self._start_processes([spec for spec in specs if spec not in postponed])
        return postponed

    async def _start_rest(self, postponed: Collection[list[ServiceProcess]]) -> None:
        for specs in postponed:
            await self._start_processes(specs)
        self._complete = True
        self._write_run()

    async def _start_processes(self, specs: Collection[ServiceProcess]) -> None:
        for spec in specs:
            self._supervisor.start(spec)
        for spec in specs:
            await self._supervisor.wait_ready(spec.name)

    async def _specs_of(self, service: str) -> list[ServiceProcess]:
        if service in stack_services.SERVERS:
            return [await self._server(service)]
        if service == "migrate" and self.profile is MOVABLE:
            server = database_url(self._ports["postgres"], self._secrets["database_password"])
            self.ahead_seconds = await prepare_movable_clock(server, name=self.profile.database)
        elif service == "migrate" and "postgres" in self._services:
            self.ahead_seconds = (await read_clock(self.urls.database)).ahead_seconds
        if service == "migrate" and await schema_is_current(self.urls.database):
            return []
        product = stack_services.ServiceInputs(
            self.home, self._ports, self.environment, self._workers, self.profile, self.control_key
        )
        return stack_services.processes_of(service, product)

    async def _server(self, service: str) -> ServiceProcess:
        make, secret = {
            "postgres": (postgres, "database_password"),
            "valkey": (valkey, "broker_password"),
        }[service]
        return await make(self.home, port=self._ports[service], password=self._secrets[secret], durable=self._durable)

    async def _stop_all(self) -> None:
        self._stopping = True
        self._write_run()
        try:
            if self._rest:
                self._rest.cancel()
                await asyncio.gather(self._rest, return_exceptions=True)  # wait_all() reports its error
            for tier in reversed(stack_services.TIERS):
                names = [name for name in self._supervisor.names if _service_of(name) in tier]
                await asyncio.gather(*(self._supervisor.stop(name) for name in names))
            if self._late_run:
                self._late_run.cancel()
            self.home.run_file.unlink(missing_ok=True)
        finally:
            self._reserved.release()
            self._closing.close()

    def info(self) -> RunInfo:
        """Return the content of run.json: where everything is, and with which pids."""
        pids = {"supervisor": os.getpid(), **self.pids}
        return {
            "api_url": self.urls.api,
            "flower_url": self.urls.flower,
            "flower_auth": list(self.flower_auth),
            "sandbox_url": self.urls.sandbox,
            "sandbox_control_key": self.control_key,
            "database_url": self.urls.database,
            "broker_url": self.urls.broker,
            "pids": pids,
            "realm": self.profile.database,
            "ahead_seconds": self.ahead_seconds,
            "complete": self._complete,
            "stopping": self._stopping,
            "names": self._supervisor.names,
            "ready": self._supervisor.ready_names,
            "born": {name: start_time(pid) for name, pid in pids.items()},
        }

    def _write_run(self) -> None:
        """Write run.json now, or as soon as the disk has room for it; the supervisor does not wait for that."""
        if self._late_run:
            self._late_run.cancel()
        try:
            write_run(self.home, self.info())
        except OSError:
            self._late_run = asyncio.get_running_loop().call_later(WRITE_AGAIN_SECONDS, self._write_run)


def local_servers(home: Path | str, *, ports: str = "free", durable: bool = True) -> LocalStack:
    """Return a stack of PostgreSQL and Valkey alone."""
    return LocalStack(home, ports=ports, services=stack_services.SERVERS, durable=durable)


def _service_of(name: str) -> str:
    return name.split("-", maxsplit=1)[0]

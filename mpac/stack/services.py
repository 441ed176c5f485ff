"""The services of a stack: the processes of each, what they need, and the order in which they start and stop.

| tier | services | starts after |
|---|---|---|
| 1 | postgres, valkey, sandbox | nothing, because the sandbox has its own store |
| 2 | migrate | the servers |
| 3 | api, worker | the migrations; with them the first payment can be made |
| 4 | beat, flower | the workers, because Flower queries them only once, and two cores are busy until then |
"""

import signal
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from mpac.cli.errors import UserError
from mpac.stack import commands
from mpac.stack.database_profile import ORDINARY, DatabaseProfile
from mpac.stack.environment import CONTROL_KEY_VARIABLE, FLOWER_USER
from mpac.stack.ports import HOST
from mpac.stack.probes import READY_FILE_VARIABLE, answers_http, wrote_its_pid
from mpac.stack.service_process import ServiceProcess
from mpac.stack.state_folder import ROOT, Home, private_folder

SERVERS = ("postgres", "valkey")
PRODUCT = ("migrate", "sandbox", "api", "worker", "beat", "flower")
ALL_SERVICES = (*SERVERS, *PRODUCT)
TIERS = ((*SERVERS, "sandbox"), ("migrate",), ("api", "worker"), ("beat", "flower"))
REPLACED_BY = {"MPAC_DATABASE_URL": "postgres", "MPAC_BROKER_URL": "valkey", "MPAC_SANDBOX_URL": "sandbox"}
"""Variable that names a server of the user → the service that is then not started."""
NEED_THE_SCHEMA = ("api", "worker", "beat")

# Celery warns each worker about running as root, in eight lines; for a local stack that is noise. `mpac worker` still warns.
ROOT_IS_KNOWN = {"PYTHONWARNINGS": "ignore:You're running the worker"}

SOURCES = {  # service → the file without which it can't start
    "migrate": "migrations/env.py",
    "sandbox": "sandbox/__main__.py",
    "api": "api/app.py",
    "worker": "workers/app.py",
    "beat": "beat/app.py",
    "flower": "workers/app.py",
}


@dataclass(frozen=True, slots=True)
class ServiceInputs:
    """The values that determine the commands and environments of the product's processes."""

    home: Home
    ports: dict[str, int]
    environment: dict[str, str]
    workers: int
    profile: DatabaseProfile = ORDINARY
    control_key: str = field(default="", repr=False)


def missing_services(services: Collection[str]) -> dict[str, str]:
    """Return the services whose source is not in this checkout, with the missing file."""
    return {
        service: SOURCES[service]
        for service in services
        if service in SOURCES and not (ROOT / SOURCES[service]).exists()
    }


def check_services(services: Collection[str]) -> tuple[str, ...]:
    """Return the services in start order, with ``migrate`` added if one of them needs the schema.

    Raises ``UserError`` if a service does not exist or can't be started.
    """
    unknown = sorted(set(services) - set(ALL_SERVICES))
    if unknown:
        raise UserError(f"{unknown[0]} is not a service of the stack: choose from {', '.join(ALL_SERVICES)}.")
    wanted = set(services) | ({"migrate"} if set(services) & set(NEED_THE_SCHEMA) else set())
    missing = missing_services(wanted)
    if missing:
        service, file = next(iter(missing.items()))
        raise UserError(f"{service} can't be started: {file} is not in this checkout.")
    return tuple(service for service in ALL_SERVICES if service in wanted)


def processes_of(service: str, product: ServiceInputs) -> list[ServiceProcess]:
    """Return the processes of one service of the product; each server has its own module."""
    makers = {
        "migrate": _migrate,
        "sandbox": _sandbox,
        "api": _api,
        "worker": _workers,
        "beat": _beat,
        "flower": _flower,
    }
    return makers[service](product)


def _migrate(product: ServiceInputs) -> list[ServiceProcess]:
    return [ServiceProcess(name="migrate", command=commands.migrate(), environment=product.environment, runs_once=True)]


def _sandbox(product: ServiceInputs) -> list[ServiceProcess]:
    port = product.ports["sandbox"]
    return [
        ServiceProcess(
            name="sandbox",
            command=commands.sandbox(
                host=HOST, port=port, store=str(private_folder(product.home.path / product.profile.sandbox_folder))
            ),
            # Only the sandbox gets this key: the product can charge there, but not read what was really charged.
            environment={**product.environment, CONTROL_KEY_VARIABLE: product.control_key},
            ready=answers_http(port, "/health"),
        )
    ]


def _api(product: ServiceInputs) -> list[ServiceProcess]:
    port = product.ports["api"]
    return [
        ServiceProcess(
            name="api",
            command=commands.api(host=HOST, port=port),
            environment=product.environment,
            ready=answers_http(port, "/health/ready"),
            grace_seconds=commands.API_GRACE_SECONDS + 5,
        )
    ]


def _workers(product: ServiceInputs) -> list[ServiceProcess]:
    numbered = {f"worker-payments-{n}": commands.PAYMENTS_QUEUE for n in range(1, product.workers + 1)}
    return [
        _worker(product, name, queues) for name, queues in {**numbered, "worker-other": commands.OTHER_QUEUES}.items()
    ]


def _worker(product: ServiceInputs, name: str, queues: str) -> ServiceProcess:
    ready_file: Path = private_folder(product.home.ready) / name
    return ServiceProcess(
        name=name,
        command=commands.worker(queues=queues, name=name),
        environment={**product.environment, **ROOT_IS_KNOWN, READY_FILE_VARIABLE: str(ready_file)},
        ready=wrote_its_pid(ready_file),
        grace_seconds=commands.WORKER_GRACE_SECONDS,
    )


def _beat(product: ServiceInputs) -> list[ServiceProcess]:
    return [ServiceProcess(name="beat", command=commands.beat(), environment=product.environment)]


def _flower(product: ServiceInputs) -> list[ServiceProcess]:
    port = product.ports["flower"]
    login = commands.flower_variables(
        product.environment.get("MPAC_FLOWER_USER", FLOWER_USER), product.environment["MPAC_FLOWER_PASSWORD"]
    )
    return [
        ServiceProcess(
            name="flower",
            command=commands.flower(host=HOST, port=port),
            environment={**product.environment, **login},
            ready=answers_http(port, "/healthcheck"),
            # It stores nothing, and on SIGTERM Flower 2.2 waits for its own threads, which never end.
            stop_signal=signal.SIGKILL,
        )
    ]

"""Run PostgreSQL from a wheel: a cluster in the state folder, on 127.0.0.1 with a password.

| question | answer |
|---|---|
| its user | our own user; as root: our user under another name (a user namespace), else ``nobody`` |
| the cluster | ``initdb`` once, 0.7 s; SCRAM with a password of the state folder |
| its paths | relative to its working folder: initdb refuses an absolute path with a line break |
| when it is ready | line 8 of ``postmaster.pid`` says so, as ``pg_ctl`` reads it: no connection, no noise in the log |

fsync and synchronous_commit stay on: what is measured and shown here is the durability that a payment is promised. Only tests,
which delete their clusters, may set ``durable=False``.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mpac.cli.errors import UserError
from mpac.stack.database_profile import ORDINARY
from mpac.stack.external_folder import copy_programs, is_safe, nobody_uid, open_external_folder
from mpac.stack.ports import HOST
from mpac.stack.root_cause import first_cause
from mpac.stack.server_binaries import WHEEL, postgres_folders
from mpac.stack.service_process import EXEC_WRAPPER, Identity, ServiceProcess
from mpac.stack.state_folder import Home, private_folder, write_private

USER = "mpac"

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # TCP only, with a password
    "shared_buffers": "256MB",
    "max_connections": "300",  # several processes with pools, and the tests' own
    "max_wal_size": "2GB",  # few checkpoints, so that hardly any falls into a measurement
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m ",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

INITDB = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--username={USER}")
INITDB_WITHIN_SECONDS = 120  # 0.7 s on an idle machine
READY_LINE = 7  # of postmaster.pid, counted from 0; LOCK_FILE_LINE_PM_STATUS in PostgreSQL's source


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster: its data, the programs that serve it, and the identity that they run as."""

    binaries: Path
    data: Path
    identity: Identity


async def postgres(home: Home, *, port: int, password: str, durable: bool) -> ServiceProcess:
    """Return the process of the PostgreSQL server. Create the database cluster if there is none yet."""
    cluster = await asyncio.to_thread(_prepare, home, password, durable)
    settings = SETTINGS | {"port": str(port)} | ({} if durable else NOT_DURABLE)
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    async def ready(pid: int) -> bool:
        return _is_ready(cluster.data / "postmaster.pid", pid)

    return ServiceProcess(
        name="postgres",
        command=(str(cluster.binaries / "postgres"), "-D", cluster.data.name, *options),
        ready=ready,
        stop_signal=signal.SIGINT,  # fast shutdown: roll back, checkpoint, end
        death_signal=signal.SIGINT,
        grace_seconds=30,
        identity=cluster.identity,
        folder=str(cluster.data.parent),
    )


def database_url(port: int, password: str, *, database: str = ORDINARY.database) -> str:
    """Return the URL of the superuser. The migrations create the roles that the product uses."""
    return f"postgresql://{USER}:{password}@{HOST}:{port}/{database}"


def identity_for(folder: Path) -> Identity:
    """Return the identity under which PostgreSQL can run with its data in ``folder``.

    It is ``self``, or, because PostgreSQL refuses to run as root, ``mapped`` or ``nobody``. Raises ``UserError`` if root can
    use neither of them.
    """
    if os.geteuid() != 0:
        return "self"
    # Root under another name has no rights over a folder that belongs to somebody else, for instance in a home of 0700.
    binary = str(postgres_folders()[0] / "postgres")
    if _run("mapped", ["/bin/sh", "-c", '"$0" --version && cd -- "$1"', binary, str(folder)]).returncode == 0:
        return "mapped"
    if _run("nobody", ["/bin/sh", "-c", ":"]).returncode == 0:
        return "nobody"
    raise UserError(
        "PostgreSQL refuses to run as root, and neither a user namespace nor the user nobody can run it here: "
        "start as an ordinary user, or set MPAC_DATABASE_URL to a server of yours."
    )


def _prepare(home: Home, password: str, durable: bool) -> Cluster:
    inside = private_folder(home.postgres)
    identity = identity_for(inside)
    data = (open_external_folder(home, owner=nobody_uid()) if identity == "nobody" else inside) / "data"
    version_file = data / "PG_VERSION"
    version = version_file.read_text().strip() if version_file.exists() else ""
    binaries = _runnable_folder(_binaries_for(version), home, identity)
    if not version:
        _initdb(Cluster(binaries, data, identity), password, durable)
    return Cluster(binaries, data, identity)


def _runnable_folder(binaries: Path, home: Home, identity: Identity) -> Path:
    """Return ``binaries``, or the folder of a copy if the installed programs can't be run."""
    if WHEEL not in binaries.parts:  # only the wheel's programs are known to work from another folder
        return binaries
    if identity == "nobody":
        reached = _run(identity, [str(binaries / "postgres"), "--version"]).returncode == 0
        return binaries if reached and is_safe(binaries) else copy_programs(binaries, home, owner=nobody_uid())
    return binaries if is_safe(binaries) else copy_programs(binaries, home, owner=os.geteuid())


def _binaries_for(version: str) -> Path:
    folders = postgres_folders()
    if not version:
        return folders[0]
    for folder in folders:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
        if said.split()[-1:] and said.split()[-1].split(".")[0] == version:
            return folder
    raise UserError(
        f"The database in the state folder needs PostgreSQL {version}, which is not installed. Install it, or delete the data "
        "with `python3 run.py reset`."
    )


def _initdb(cluster: Cluster, password: str, durable: bool) -> None:
    unfinished = cluster.data.with_name("data.unfinished")  # an interrupted initdb must not look like a cluster
    if unfinished.exists():
        shutil.rmtree(unfinished)
    password_file = cluster.data.with_name("password")
    write_private(password_file, password + "\n")
    if cluster.identity == "nobody":
        os.chown(password_file, nobody_uid(), -1)
    command = [str(cluster.binaries / "initdb"), "-D", unfinished.name, f"--pwfile={password_file.name}", *INITDB]
    try:
        _check_succeeded(
            _run(cluster.identity, command if durable else [*command, "--no-sync"], folder=unfinished.parent)
        )
    finally:
        password_file.unlink()
    # Single-user mode: no server to start, wait for, log in to and stop.
    single = [str(cluster.binaries / "postgres"), "--single", "-D", unfinished.name, "postgres"]
    _check_succeeded(
        _run(cluster.identity, single, folder=unfinished.parent, text=f"CREATE DATABASE {ORDINARY.database}\n")
    )
    unfinished.rename(cluster.data)


def _check_succeeded(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        raise UserError(f"The database could not be created ({first_cause(done.stderr.splitlines())}).")


def _run(
    identity: Identity, command: list[str], *, folder: Path = Path("/"), text: str = ""
) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-I", "-S", str(EXEC_WRAPPER), str(int(signal.SIGKILL)), str(os.getpid()), identity]
    return subprocess.run(
        [*launcher, *command],
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",  # it may repeat a path
        check=False,
        timeout=INITDB_WITHIN_SECONDS,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
    )


def _is_ready(pid_file: Path, pid: int) -> bool:
    try:
        lines = os.fsdecode(pid_file.read_bytes()).split("\n")  # it holds the path of the data, which need not be UTF-8
    except OSError:
        return False
    return len(lines) > READY_LINE and lines[0] == str(pid) and lines[READY_LINE].strip() == "ready"

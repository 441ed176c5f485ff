"""PostgreSQL from a wheel: a cluster in the state folder, on 127.0.0.1 with a password.

| step | how |
|---|---|
| who runs it | ourselves; as root: ourselves under another name (a user namespace), else ``nobody`` |
| the cluster | ``initdb`` once, 0.7 s; SCRAM with the folder's own password |
| ready | line 8 of ``postmaster.pid`` says so, as ``pg_ctl`` reads it: no connection, no noise in the log |

fsync and synchronous_commit stay on: what is measured and shown here is what a payment is promised. Only tests, whose
clusters die with them, may ask for ``durable=False``.
"""

import asyncio
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mpac.stack.home import Home, private_folder, write_private
from mpac.stack.ports import HOST
from mpac.stack.program import CHILD, Identity, Program, folder_of
from mpac.stack.realm import ORDINARY
from mpac.stack.wheels import postgres_folders
from mpac.trouble import Trouble

USER = "mpac"

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # one way in, with a password
    "shared_buffers": "256MB",
    "max_connections": "200",  # several processes with pools, and the tests' own
    "max_wal_size": "2GB",  # few checkpoints, so that a load is not measured through one
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
LAST_RESORT = Path("/var/tmp")  # noqa: S108 - ownership is checked in _nobodys_folder


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the data is, whose binaries serve it, and as whom."""

    binaries: Path
    data: Path
    identity: Identity


async def postgres(home: Home, *, port: int, password: str, durable: bool) -> Program:
    """The server's program, its cluster made if there is none yet."""
    cluster = await asyncio.to_thread(_prepare, home, password, durable)
    settings = SETTINGS | {"port": str(port)} | ({} if durable else NOT_DURABLE)
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    async def ready(pid: int) -> bool:
        return _says_ready(cluster.data / "postmaster.pid", pid)

    return Program(
        name="postgres",
        command=(str(cluster.binaries / "postgres"), "-D", str(cluster.data), *options),
        ready=ready,
        stop_signal=signal.SIGINT,  # fast shutdown: roll back, checkpoint, end
        death_signal=signal.SIGINT,
        grace_seconds=30,
        identity=cluster.identity,
    )


def database_url(port: int, password: str, *, database: str = ORDINARY.database) -> str:
    """The superuser's URL; migrations make the roles the product runs under."""
    return f"postgresql://{USER}:{password}@{HOST}:{port}/{database}"


def root_identity() -> Identity:
    """As whom the server runs: PostgreSQL refuses root. Raises ``Trouble`` where nothing is allowed."""
    if os.geteuid() != 0:
        return "self"
    binary = str(postgres_folders()[0] / "postgres")
    for identity in ("mapped", "nobody"):
        if _run(identity, [binary, "--version"]).returncode == 0:
            return identity
    raise Trouble(
        "PostgreSQL does not run as root, and neither a user namespace nor the user nobody can run it here: "
        "start as an ordinary user, or set MPAC_DATABASE_URL to a server of yours."
    )


def forget(home: Home) -> None:
    """Delete what lies outside the state folder, if anything does."""
    outside = _outside(home)
    if outside.is_dir() and not outside.is_symlink():
        shutil.rmtree(outside)


def _prepare(home: Home, password: str, durable: bool) -> Cluster:
    identity = root_identity()
    data = (_nobodys_folder(home) if identity == "nobody" else private_folder(home.postgres)) / "data"
    version_file = data / "PG_VERSION"
    version = version_file.read_text().strip() if version_file.exists() else ""
    binaries = _binaries_for(version)
    if not version:
        _initdb(Cluster(binaries, data, identity), password, durable)
    return Cluster(binaries, data, identity)


def _binaries_for(version: str) -> Path:
    folders = postgres_folders()
    if not version:
        return folders[0]
    for folder in folders:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
        if said.split()[-1:] and said.split()[-1].split(".")[0] == version:
            return folder
    raise Trouble(
        f"The database in the state folder is of PostgreSQL {version}, which is not installed: `python3 run.py reset`."
    )


def _initdb(cluster: Cluster, password: str, durable: bool) -> None:
    unfinished = cluster.data.with_name("data.unfinished")  # a kill half-way must not look like a cluster
    if unfinished.exists():
        shutil.rmtree(unfinished)
    password_file = cluster.data.with_name("password")
    write_private(password_file, password + "\n")
    if cluster.identity == "nobody":
        os.chown(password_file, pwd.getpwnam("nobody").pw_uid, -1)
    words = [str(cluster.binaries / "initdb"), "-D", str(unfinished), f"--pwfile={password_file}", *INITDB]
    try:
        _must(_run(cluster.identity, words if durable else [*words, "--no-sync"]))
    finally:
        password_file.unlink()
    # Single-user mode: no server to start, wait for, log in to and stop.
    single = [str(cluster.binaries / "postgres"), "--single", "-D", str(unfinished), "postgres"]
    _must(_run(cluster.identity, single, text=f"CREATE DATABASE {ORDINARY.database}\n"))
    unfinished.rename(cluster.data)


def _must(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Trouble(f"The database could not be made ({last}): `python3 run.py doctor` tells what is missing.")


def _run(identity: Identity, words: list[str], *, text: str = "") -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-I", "-S", str(CHILD), str(int(signal.SIGKILL)), str(os.getpid()), identity]
    return subprocess.run(
        [*launcher, *words],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=INITDB_WITHIN_SECONDS,
        cwd=folder_of(identity),
        env={**os.environ, "LC_ALL": "C"},
    )


def _says_ready(pid_file: Path, pid: int) -> bool:
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) > READY_LINE and lines[0] == str(pid) and lines[READY_LINE].strip() == "ready"


def _outside(home: Home) -> Path:
    return LAST_RESORT / f"mpac-{hashlib.sha256(str(home.path).encode()).hexdigest()[:16]}"


def _nobodys_folder(home: Home) -> Path:
    """A folder ``nobody`` owns and can reach, which no state folder below /root is."""
    folder = _outside(home)
    nobody = pwd.getpwnam("nobody").pw_uid
    if not folder.exists() and not folder.is_symlink():
        folder.mkdir(mode=0o700)
        os.chown(folder, nobody, -1)
    stat = folder.lstat()
    if stat.st_uid != nobody or stat.st_mode & 0o077 or folder.is_symlink():
        raise Trouble(f"{folder} belongs to somebody else: remove it, or set MPAC_DATABASE_URL to a server of yours.")
    return folder

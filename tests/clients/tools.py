"""Install the client generators outside the repository, once per lock file.

They come from npm and PyPI, pinned by ``typescript/package-lock.json`` and ``python/requirements.lock``, and are installed
into the user's cache folder. If node or a registry is missing, the test is skipped with that reason. Any other problem is a
failure.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from workflows.clock import now

Command = Sequence[str | Path]

HERE = Path(__file__).parent
NODE = HERE / "typescript"
PYTHON = HERE / "python"
OLDEST_NODE = 20
INSTALL_SECONDS = 240  # a hundred megabytes over a slow connection; beyond it the registry counts as unreachable
RUN_SECONDS = 240  # guards against hangs only

KEPT_SECONDS = 30 * 86_400  # another checkout may use other versions
UNFINISHED = ".part"

UNREACHABLE = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|SOCKET_TIMEOUT|code E(401|403|404|5\d\d)"
    r"|Failed to fetch|error sending request|not found in the package registry|[Nn]etwork"
)
"""Messages of npm and uv if a registry cannot be reached or does not have a package."""


def run(command: Command, *, cwd: Path, seconds: float = RUN_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return the finished process."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=seconds)


def succeed(command: Command, *, cwd: Path) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = run(command, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def node_tools() -> Path:
    """Return the folder whose ``node_modules`` has the tools that run on Node.

    The tools are Spectral, openapi-typescript, openapi-fetch and the compiler.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on the PATH; the TypeScript client needs node {OLDEST_NODE} with npm")
    version = succeed(["node", "--version"], cwd=HERE).strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node is {version}; the TypeScript client needs {OLDEST_NODE} or newer")

    def install(folder: Path) -> None:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(NODE / name, folder)
        _install(["npm", "ci", "--prefer-offline"], folder, "npm's registry")

    return _cached("node", (NODE / "package-lock.json").read_bytes(), install)


def python_tools() -> Path:
    """Return the folder of a virtual environment that has openapi-python-client."""

    def install(folder: Path) -> None:
        uv = [sys.executable, "-m", "uv"]
        succeed([*uv, "venv", "--quiet", "--python", sys.executable, folder / "env"], cwd=folder)
        python = folder / "env" / "bin" / "python"
        wanted: Command = [PYTHON / "requirements.lock", "--require-hashes", "--only-binary", ":all:"]
        _install([*uv, "pip", "sync", "--quiet", "--python", python, *wanted], folder, "PyPI")

    version = sys.version.encode()  # the environment works only with the interpreter that made it
    return _cached("python", (PYTHON / "requirements.lock").read_bytes() + version, install)


def _install(command: Command, folder: Path, registry: str) -> None:
    try:
        done = run(command, cwd=folder, seconds=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{registry} did not answer within {INSTALL_SECONDS} s")
    if done.returncode != 0:
        said = f"{done.stdout}\n{done.stderr}"
        if UNREACHABLE.search(said):
            pytest.skip(f"{registry} cannot be reached or lacks a pinned package: {said.strip()[-300:]}")
        raise AssertionError(said)


def _cached(name: str, lock: bytes, install: Callable[[Path], None]) -> Path:
    """Return a folder that ``install`` filled for this ``lock``, in this or an earlier test run."""
    with _one_at_a_time(name) as shelf:
        found = shelf / hashlib.sha256(lock).hexdigest()[:16]
        if found.is_dir():
            return found
        for older in shelf.iterdir():
            if older.suffix == UNFINISHED or now().timestamp() - older.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(older, ignore_errors=True)
        folder = found.with_suffix(UNFINISHED)
        folder.mkdir()
        install(folder)
        return folder.rename(found)


@contextmanager
def _one_at_a_time(name: str) -> Iterator[Path]:
    shelf = _cache() / name
    shelf.mkdir(parents=True, exist_ok=True)
    with (shelf.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shelf


def _cache() -> Path:
    wanted = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpac-client-tools"
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / f"mpac-client-tools-{os.getuid()}"
    return wanted

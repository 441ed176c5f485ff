"""Check whether a local stack can run on this machine: one function per check, each with its result and advice."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from mpac.cli.errors import UserError
from mpac.stack.ports import BASE, ORDER, is_free
from mpac.stack.run_file import is_running
from mpac.stack.server_binaries import postgres_folders, valkey_binary
from mpac.stack.server_check import try_server
from mpac.stack.state_folder import ROOT, Home

GIB = 1024**3
LEAST_DISK_BYTES = 2 * GIB  # the database's write-ahead log alone may take its max_wal_size
LEAST_MEMORY_BYTES = 1 * GIB  # the whole stack at rest takes some 700 MB
PLATFORMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "x86_64"), ("Darwin", "arm64")}
IDENTITIES = {
    "self": "as this user",
    "mapped": "as root under another name (a user namespace)",
    "nobody": "as the user nobody, since user namespaces are forbidden here",
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check. ``advice`` is empty if nothing needs to be done; ``fatal`` means that the stack can't start."""

    text: str
    advice: str = ""
    fatal: bool = False


def python(_home: Home) -> CheckResult:
    """Report the Python version; `run.py` refuses one that is too old."""
    return CheckResult(f"{platform.python_version()} at {sys.executable}")


def system(_home: Home) -> CheckResult:
    """Report the platform, and whether there are wheels with servers for it."""
    here = (platform.system(), platform.machine())
    text = f"{here[0]} {platform.release()} {here[1]}, {os.cpu_count()} cores"
    if here in PLATFORMS:
        return CheckResult(text)
    return CheckResult(
        text, "there are no wheels with servers for it: set MPAC_DATABASE_URL and MPAC_BROKER_URL to servers of yours"
    )


def database(home: Home) -> CheckResult:
    """Check that PostgreSQL is installed and can start, and report the user it runs as."""
    if os.environ.get("MPAC_DATABASE_URL"):
        return CheckResult("the server of MPAC_DATABASE_URL")
    try:
        version = _first_line([str(postgres_folders()[0] / "postgres"), "--version"])
        identity = IDENTITIES[try_server("postgres", home)]
        return CheckResult(f"{version}, test start succeeded {identity}")
    except (UserError, OSError) as error:
        return CheckResult("it cannot run here", str(error), fatal=True)


def broker(home: Home) -> CheckResult:
    """Check that Valkey is installed and can start."""
    if os.environ.get("MPAC_BROKER_URL"):
        return CheckResult("the server of MPAC_BROKER_URL")
    try:
        version = " ".join(_first_line([str(valkey_binary()), "--version"]).split()[:3])
        try_server("valkey", home)
        return CheckResult(f"{version}, test start succeeded")
    except (UserError, OSError) as error:
        return CheckResult("it cannot run here", str(error), fatal=True)


def ports(home: Home) -> CheckResult:
    """Check which of the documented ports are free."""
    if is_running(home):
        return CheckResult(f"a stack is running in {home.path} and uses its ports")
    taken = [BASE + place for place in range(len(ORDER)) if not is_free(BASE + place)]
    if not taken:
        return CheckResult(f"{BASE} to {BASE + len(ORDER) - 1} are free")
    return CheckResult(
        f"{', '.join(map(str, taken))} taken",
        "nothing to do: `up` takes free ports instead; or choose others with --ports BASE",
    )


def disk(home: Home) -> CheckResult:
    """Check that there is room for the state folder."""
    place = next(folder for folder in (home.path, *home.path.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / GIB:.1f} GiB free at {place}"
    return (
        CheckResult(text)
        if free >= LEAST_DISK_BYTES
        else CheckResult(text, "free 2 GiB, or choose another place with --home")
    )


def memory(_home: Home) -> CheckResult:
    """Check that there is memory for all processes."""
    available = psutil.virtual_memory().available
    text = f"{available / GIB:.1f} GiB available"
    return (
        CheckResult(text)
        if available >= LEAST_MEMORY_BYTES
        else CheckResult(text, "the stack needs about 1 GiB: close other programs")
    )


def state_folder(home: Home) -> CheckResult:
    """Check that the state folder belongs to this user, is writable and is private."""
    if not home.path.exists():
        parent = next(folder for folder in home.path.parents if folder.exists())
        if parent.is_dir() and os.access(parent, os.W_OK):
            return CheckResult(f"{home.path} will be created")
        return CheckResult(
            f"{home.path} can't be created", "choose another folder with --home or MPAC_HOME", fatal=True
        )
    if not home.is_marked and any(home.path.iterdir()):
        return CheckResult(
            f"{home.path} holds other files", "choose another folder with --home or MPAC_HOME", fatal=True
        )
    if not os.access(home.path, os.W_OK):
        return CheckResult(f"{home.path} is not writable", "choose another folder with --home or MPAC_HOME", fatal=True)
    strangers = [path for path in home.path.iterdir() if path.stat().st_uid != os.geteuid()]
    if strangers and os.geteuid() != 0:
        owner = f"uid {strangers[0].stat().st_uid}"
        return CheckResult(
            f"{strangers[0]} belongs to {owner}", "choose another folder with --home or MPAC_HOME", fatal=True
        )
    open_to_others = [path for path in (home.path, *home.secrets.glob("*")) if path.stat().st_mode & 0o077]
    if open_to_others:
        return CheckResult(f"{open_to_others[0]} can be read by others", f"run chmod -R go-rwx {home.path}")
    return CheckResult(f"{home.path} is private")


def checkout(_home: Home) -> CheckResult:
    """Check that the checkout is writable, which `run.py` and the default state folder need."""
    if os.access(ROOT, os.W_OK):
        return CheckResult(f"{ROOT} is writable")
    return CheckResult(f"{ROOT} is not writable", "set MPAC_VENV and MPAC_HOME to folders of your own")


CHECKS: dict[str, Callable[[Home], CheckResult]] = {
    "Python": python,
    "system": system,
    "PostgreSQL": database,
    "Valkey": broker,
    "ports": ports,
    "disk": disk,
    "memory": memory,
    "state folder": state_folder,
    "checkout": checkout,
}


def run_check(check: Callable[[Home], CheckResult], home: Home) -> CheckResult:
    """Run a check. An ``OSError`` becomes a failed result."""
    try:
        return check(home)
    except OSError as error:
        text = f"{error.filename} can't be read ({error.strerror})"
        return CheckResult(text, "choose another folder with --home or MPAC_HOME", fatal=True)


def _first_line(command: list[str]) -> str:
    text = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path("/")).stdout
    if not text:
        raise UserError(f"{command[0]} does not run here: check that it was built for this system.")
    return text.splitlines()[0]

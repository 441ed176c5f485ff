"""Run `mpac` commands as a user does, and inspect processes from outside."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from mpac.stack.run_file import start_time
from mpac.stack.server_binaries import WHEEL, postgres_folders
from mpac.stack.service_process import ServiceProcess
from mpac.stack.state_folder import ROOT
from tests.polling import HANGS_AFTER_SECONDS

FOREVER = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)")


def mpac(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run an `mpac` command with the state folder ``home``, and return the finished process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MPAC_")}
    return subprocess.run(
        [sys.executable, "-m", "mpac", *words, "--home", str(home)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )


def is_alive(pid: int) -> bool:
    """Return whether the process is alive. A zombie is not."""
    return start_time(pid) != ""


def idle_process(name: str) -> ServiceProcess:
    """Return a service process that does nothing until it is stopped."""
    return ServiceProcess(name=name, command=FOREVER)


def python(name: str, code: str) -> ServiceProcess:
    """Return a service process that runs ``code``."""
    return ServiceProcess(name=name, command=(sys.executable, "-I", "-S", "-c", code))


def linked_programs(folder: Path) -> Path:
    """Link PostgreSQL's programs into an environment below ``folder``, and return their folder."""
    binaries = postgres_folders()[0]
    installed = binaries.parent
    target = folder / "site-packages" / WHEEL / installed.name
    shutil.copytree(installed, target, copy_function=_link_or_copy)
    libraries = installed.parents[1] / f"{WHEEL}.libs"
    if libraries.exists():
        shutil.copytree(libraries, target.parents[1] / libraries.name, copy_function=_link_or_copy)
    return target / binaries.name


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)

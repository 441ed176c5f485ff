"""Read and write ``run.json``, which tells other processes what runs now, where, and with which pids.

The lock tells whether the file is current: the supervisor holds ``lock`` as long as it lives. So a file that was left behind
by ``kill -9`` is known to be stale, and a second stack in the same folder is refused.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mpac.cli.errors import UserError
from mpac.stack.state_folder import FILE_MODE, Home, command, write_private

RunInfo = dict[str, Any]  # the shape is documented in docs/commands.md; readers take what they need

SHAPE: dict[str, type] = {  # of the fields that readers use without checking
    **dict.fromkeys(("api_url", "flower_url", "sandbox_url", "database_url", "broker_url"), str),
    **dict.fromkeys(("flower_auth", "names", "ready"), list),
    "pids": dict,
}
WRITTEN_WITHIN_SECONDS = 120  # after the lock was taken; the first process is started long before
LEFTOVERS_WITHIN_SECONDS = 15  # a database whose supervisor was killed writes a checkpoint before it ends
POLL_SECONDS = 0.02


@contextmanager
def exclusive_lock(home: Home) -> Iterator[None]:
    """Hold the folder's lock during the block.

    Raises ``UserError`` if a stack is already running in the folder.
    """
    descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        try:
            _lock(descriptor)
        except BlockingIOError:
            raise UserError(already_running_message(home)) from None
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def already_running_message(home: Home) -> str:
    """Return a message that says which stack runs in the folder, where it is, and what can be done."""
    said = home.lock_file.read_text()
    pid = f" (pid {said})" if said.isdecimal() else ""
    info = _read(home) or {}
    if info.get("stopping"):
        return f"The local stack that already runs in {home.path}{pid} is stopping: try again in a few seconds."
    api = info.get("api_url")
    where = (
        f", its API at {api}"
        if info.get("complete") and api
        else ""
        if info.get("complete")
        else " and is still starting"
    )
    return (
        f"A local stack already runs in {home.path}{pid}{where}: `{command('status', home.path)}` shows it, "
        f"`{command('logs --follow', home.path)}` shows its logs, `{command('down', home.path)}` stops it; "
        "or choose another folder for this one with --home."
    )


def _lock(descriptor: int) -> None:
    """Take the lock. Raises ``BlockingIOError`` if another process holds it exclusively.

    A status probe (``is_running``) shares the lock for a moment, which is long if a busy machine suspends the probe just then.
    The process that started this one in the background probes every 50 ms and must not be mistaken for a running stack.
    """
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Succeeds if probes share the lock, and fails if a stack holds it.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(POLL_SECONDS)
        else:
            return


def is_running(home: Home) -> bool:
    """Return whether a supervisor holds the folder's lock."""
    try:
        descriptor = os.open(home.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def supervisor_pid(home: Home) -> int | None:
    """Return the pid of the supervisor that holds the folder's lock; ``None`` if there is none."""
    if not is_running(home):
        return None
    said = home.lock_file.read_text()
    return int(said) if said.isdecimal() else None


def read_run(home: Home) -> RunInfo | None:
    """Return run.json of the running stack.

    Return ``None`` if no stack runs or the file can't be read (see ``unreadable_message``).
    """
    if not is_running(home):
        return None
    info = _read(home) or {}
    is_complete = all(isinstance(info.get(name), kind) for name, kind in SHAPE.items()) and "supervisor" in info["pids"]
    return info if is_complete else None


def unreadable_message(home: Home) -> str:
    """Return what to print if a stack runs but ``read_run`` finds nothing; empty if no stack runs."""
    if not is_running(home):
        return ""
    if not home.run_file.exists() and time.time() - home.lock_file.stat().st_mtime < WRITTEN_WITHIN_SECONDS:
        return f"A stack is starting in {home.path}: try again in a moment."
    return (
        f"A stack runs in {home.path}, but its run.json is missing or damaged: "
        f"`{command('down', home.path)}` stops it, and `{command('up', home.path)}` starts it with a new one."
    )


def write_run(home: Home, info: RunInfo) -> None:
    """Replace run.json."""
    write_private(home.run_file, json.dumps(info, indent=2) + "\n")


def clear_leftovers(home: Home) -> None:
    """Wait for the children of a supervisor that was killed with ``kill -9``.

    The kernel has signalled the children to end. Call the function with the lock held. A pid counts only if its process
    started at the time in the file, so no other process is waited for.
    """
    info = _read(home) or {}
    born = info.get("born", {})
    deadline = time.monotonic() + LEFTOVERS_WITHIN_SECONDS
    for name, pid in info.get("pids", {}).items():
        while name != "supervisor" and born.get(name) == start_time(pid) != "":
            if time.monotonic() > deadline:
                raise UserError(f"{name} of the last run (pid {pid}) has not ended: end it with `kill {pid}`.")
            time.sleep(POLL_SECONDS)
    home.run_file.unlink(missing_ok=True)


def start_time(pid: int) -> str:
    """Return when the process started, in the kernel's ticks.

    Return an empty string if there is no such process or no /proc.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _read(home: Home) -> RunInfo | None:
    try:
        found: RunInfo = json.loads(home.run_file.read_text())
    except (FileNotFoundError, ValueError):  # none yet, or damaged: half a file, or bytes that are not text
        return None
    is_ours = isinstance(found, dict) and all(isinstance(found.get(name, {}), dict) for name in ("pids", "born"))
    return found if is_ours else None

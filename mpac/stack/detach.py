"""Start `mpac up` in the background, and stop a stack that another process started."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from mpac.cli.errors import UserError
from mpac.stack.run_file import RunInfo, already_running_message, is_running, read_run, supervisor_pid
from mpac.stack.state_folder import FILE_MODE, ROOT, Home, open_home, private_folder

POLL_SECONDS = 0.05
MPAC = (sys.executable, "-m", "mpac")
READY_WITHIN_SECONDS = 120  # the supervisor has its own time-outs; this one is for a supervisor that hangs
GONE_WITHIN_SECONDS = 60  # workers finish their calls (20 s), the database its checkpoint (30 s)


def join_or_start(home: Path, arguments: Sequence[str]) -> tuple[RunInfo, bool]:
    """Return run.json of the stack in ``home`` once it is ready, and whether this call started it.

    If a stack is starting or stopping, wait for that first. If several calls run concurrently, only one of them starts a
    stack.
    """
    folder = open_home(home)
    # The descriptor is not inherited, so the lock is free again as soon as this process has ended.
    with folder.starting_file.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        info = _wait_for_running(folder)
        if info is not None:
            return info, False
        try:
            return detach_up(home, arguments), True
        except UserError:
            info = _wait_for_running(folder)  # another `up` was quicker
            if info is None:
                raise
            return info, False


def detach_up(home: Path, arguments: Sequence[str], *, names: Collection[str] = ()) -> RunInfo:
    """Run `mpac` with ``arguments`` but without --detach in a new session, and wait until it is ready.

    Return its run.json. If ``names`` are given, return as soon as those processes are ready; ``wait_complete`` waits for
    the rest.
    """
    folder = open_home(home)
    if is_running(folder):
        raise UserError(already_running_message(folder))
    log = private_folder(folder.logs) / "up.log"
    log.unlink(missing_ok=True)
    log.touch(mode=FILE_MODE)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*MPAC, *(word for word in arguments if word != "--detach"), f"--home={folder.path}", "--background"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,  # where Python finds mpac, whatever the path; PYTHONPATH would be split at a colon
            start_new_session=True,
        )
    try:
        return _wait_until_started(folder, process, log, names=names)
    except KeyboardInterrupt:  # an abandoned start must not leave a stack behind
        process.terminate()
        process.wait(GONE_WITHIN_SECONDS)
        raise


def _wait_for_running(home: Home) -> RunInfo | None:
    """Return run.json of the running stack once it is complete; ``None`` if none runs or it ends.

    Raises ``UserError``.
    """
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while is_running(home):
        info = read_run(home)
        if info and info.get("complete") and not info.get("stopping"):
            return info
        if time.monotonic() > deadline:
            raise UserError(
                f"The stack in {home.path} was not ready within {READY_WITHIN_SECONDS} seconds; see {home.logs}."
            )
        time.sleep(POLL_SECONDS)
    return None


def wait_complete(home: Home) -> RunInfo:
    """Wait until a stack that was started in the background is ready as a whole. Raises ``UserError``."""
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        info = read_run(home)
        if info is None:
            raise UserError(f"The stack in {home.path} has ended; its output is in {home.logs}.")
        if info.get("complete"):
            return info
        time.sleep(POLL_SECONDS)
    raise UserError(f"The stack in {home.path} was not complete within {READY_WITHIN_SECONDS} seconds.")


def stop_other(home: Home) -> bool:
    """Stop the stack of another process and wait until it is gone; return False if none runs."""
    pid = supervisor_pid(home)
    if pid is None:
        return False
    _signal(pid, signal.SIGTERM)
    if not _wait_until_gone(home):
        _signal(pid, signal.SIGKILL)  # the kernel ends its children
        if not _wait_until_gone(home):
            raise UserError(f"The stack in {home.path} (pid {pid}) does not end: check what it waits for (`ps {pid}`).")
    return True


def _wait_until_started(home: Home, process: subprocess.Popen[bytes], log: Path, *, names: Collection[str]) -> RunInfo:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        info = read_run(home)
        if info and info["pids"]["supervisor"] == process.pid and _is_ready(info, names):
            process.returncode = 0  # the child outlives us on purpose: prevents Python's warning about it
            return info
        if process.poll() is not None:
            last = (
                log.read_text(errors="replace").strip().splitlines()
                or ["it printed nothing; check whether the disk is full"]
            )[-1]
            raise UserError(f"{last.removeprefix('mpac: ')} (All output: {log.parent})")
        time.sleep(POLL_SECONDS)
    process.terminate()
    raise UserError(f"The stack was not ready within {READY_WITHIN_SECONDS} seconds; its output is in {log.parent}.")


def _is_ready(info: RunInfo, names: Collection[str]) -> bool:
    return bool(info.get("complete")) or (bool(names) and set(names) <= set(info["ready"]))


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # the process has just ended
        os.kill(pid, number)


def _wait_until_gone(home: Home) -> bool:
    deadline = time.monotonic() + GONE_WITHIN_SECONDS
    while is_running(home) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return not is_running(home)

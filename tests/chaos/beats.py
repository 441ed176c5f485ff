"""Start further `mpac beat` processes beside the stack's own beat."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mpac.stack.local_stack import LocalStack
from mpac.stack.state_folder import ROOT
from tests.polling import eventually

GRACE_SECONDS = 10
TICKS_WITHIN_SECONDS = 60  # a process may start slowly on a busy machine
TICKS = "beat sends its messages"


class Beats:
    """The further beat processes of a stack."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start a beat process without waiting for it. It is ready in a second or two."""
        self._folder.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "mpac", "beat", "--home", str(self._stack.home.path)]
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                words,
                cwd=ROOT,
                env={**os.environ, **self._stack.environment, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.processes[name]

    async def tick(self) -> None:
        """Wait until each beat process has sent a message."""

        async def said(name: str) -> str:
            return self.log(name).read_text()

        for name in self.processes:
            await eventually(partial(said, name), until=lambda text: TICKS in text, within=TICKS_WITHIN_SECONDS)

    def log(self, name: str) -> Path:
        """Return the path of a beat process's log."""
        return self._folder / f"{name}.log"

    def stop(self) -> None:
        """Stop all beat processes with SIGTERM, as a deployment would."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(GRACE_SECONDS)


@contextmanager
def beats_beside(stack: LocalStack, folder: Path) -> Iterator[Beats]:
    """Yield a ``Beats`` for the stack, and stop its processes at the end."""
    beats = Beats(stack, folder)
    try:
        yield beats
    finally:
        beats.stop()

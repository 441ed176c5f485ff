"""Beats beside the stack's own: real `mpac beat` processes, which all tick at once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mpac.stack.home import ROOT
from mpac.stack.local import LocalStack
from tests.polling import eventually

GRACE_SECONDS = 10
TICKS_WITHIN_SECONDS = 60  # a process that starts on a busy machine
TICKS = "beat sends what is due"


class Beats:
    """Further beats of one stack."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start one more; it is up in a second or two, and nobody has to wait for it."""
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
        """Wait until each of them has sent something: from here on they all do."""

        async def said(name: str) -> str:
            return self.log(name).read_text()

        for name in self.processes:
            await eventually(partial(said, name), until=lambda text: TICKS in text, within=TICKS_WITHIN_SECONDS)

    def log(self, name: str) -> Path:
        """What it says."""
        return self._folder / f"{name}.log"

    def stop(self) -> None:
        """End them all, as a deploy would."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(GRACE_SECONDS)


@contextmanager
def beats_beside(stack: LocalStack, folder: Path) -> Iterator[Beats]:
    """Further beats, gone at the end."""
    beats = Beats(stack, folder)
    try:
        yield beats
    finally:
        beats.stop()

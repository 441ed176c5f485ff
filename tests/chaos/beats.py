"""Beats beside the stack's own: real `mpac beat` processes that wait for the lock, and ones that do not ask for it at all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from mpac.stack import commands
from mpac.stack.home import ROOT
from mpac.stack.local import LocalStack
from tests.waiting import eventually

GRACE_SECONDS = 10
LOCK_SECONDS = 10
TAKEN_OVER_SECONDS = LOCK_SECONDS + 30
"""The lock is a lease, and what a worker leaves behind is taken up within its lease and 30 s (F1)."""
ACQUIRED = "beat: Acquired lock"

Kind = Literal["waiting", "unlocked"]
"""``waiting`` for RedBeat's lock as every beat does; ``unlocked``: the same timetable by Celery's own scheduler, so that it
ticks whoever else does."""


class Beats:
    """Further beats of one stack."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, kind: Kind = "waiting") -> "subprocess.Popen[bytes]":
        """Start one more; it is up in a second or two, and nobody has to wait for it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        words = {
            "waiting": [sys.executable, "-m", "mpac", "beat", "--home", str(self._stack.home.path)],
            "unlocked": [*commands.BEAT, "beat", "--pidfile=", "--schedule", str(self._folder / f"{name}.schedule")],
        }
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                words[kind],
                cwd=ROOT,
                env={**os.environ, **self._stack.environment, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.processes[name]

    async def are_up(self) -> None:
        """Wait until each of them is up: from here on those that want the lock wait for it."""
        for name in self.processes:
            await self._says(name, "beat: Starting")

    async def tick(self) -> None:
        """Wait until each of them has sent something: from here on they all do."""
        for name in self.processes:
            await self._says(name, "Sending due task")

    async def takes_over(self, name: str) -> None:
        """Wait until one that had not has the lock."""
        assert not self.has_taken_over(name)
        await self._says(name, ACQUIRED)

    def has_taken_over(self, name: str) -> bool:
        """Whether it ever had the lock."""
        return ACQUIRED in self.log(name).read_text()

    async def _says(self, name: str, words: str) -> None:
        async def said() -> str:
            return self.log(name).read_text()

        await eventually(said, until=lambda text: words in text, within=TAKEN_OVER_SECONDS)

    def log(self, name: str) -> Path:
        """What it says."""
        return self._folder / f"{name}.log"

    def stop(self) -> None:
        """End them all, as a deploy would: whoever has the lock lets go of it."""
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

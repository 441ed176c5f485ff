"""Where the lines of the processes go.

| output | for |
|---|---|
| ``FileOutput`` | tests and benchmarks: each process writes to its own file, no reader in between to hold it up |
| ``ConsoleOutput`` | `up`: through the supervisor, each line after its process's name, coloured on a terminal |

Both remember the last lines of each process, since they are what explains why it would not start.
"""

import asyncio
import sys
from collections import defaultdict, deque
from pathlib import Path
from typing import IO, Protocol

from mpac.stack.home import FILE_MODE, Home, private_folder

REMEMBERED_LINES = 20
CHUNK_BYTES = 65_536
NAME_WIDTH = 18
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)  # ANSI foregrounds that read on dark and light


class Output(Protocol):
    """Takes what a process prints."""

    def handle(self, name: str) -> int | IO[bytes]:
        """What the process gets as its stdout and stderr."""

    async def follow(self, name: str, reader: asyncio.StreamReader | None) -> None:
        """Read until the process has closed its end, if it was given a pipe."""

    def say(self, name: str, line: str) -> None:
        """A line of the supervisor's own."""

    def last_lines(self, name: str) -> list[str]:
        """The end of what it printed."""


class FileOutput:
    """One file per process in the state folder."""

    def __init__(self, home: Home) -> None:
        self._folder = private_folder(home.logs)

    def handle(self, name: str) -> IO[bytes]:
        return self._open(name)

    async def follow(self, name: str, reader: asyncio.StreamReader | None) -> None:
        """Nothing to read: the process writes its file itself."""

    def say(self, name: str, line: str) -> None:
        with self._open("supervisor") as file:
            file.write(f"{name}: {line}\n".encode())

    def last_lines(self, name: str) -> list[str]:
        file = self._folder / f"{name}.log"
        return file.read_text(errors="replace").splitlines()[-REMEMBERED_LINES:] if file.exists() else []

    def _open(self, name: str) -> IO[bytes]:
        path: Path = self._folder / f"{name}.log"
        path.touch(mode=FILE_MODE)
        return path.open("ab", buffering=0)


class ConsoleOutput:
    """Everything on our own stdout."""

    def __init__(self, stream: IO[str] = sys.stdout) -> None:
        self._stream = stream
        self._coloured = stream.isatty()
        self._remembered: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=REMEMBERED_LINES))
        self._names: list[str] = []

    def handle(self, name: str) -> int:
        self._colour_of(name)  # in the order of starting, so that a name has the same colour every time
        return asyncio.subprocess.PIPE

    async def follow(self, name: str, reader: asyncio.StreamReader | None) -> None:
        rest = b""
        while reader and (chunk := await reader.read(CHUNK_BYTES)):  # not readline(): it fails on a very long line
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.say(name, line.decode(errors="replace"))
        if rest:
            self.say(name, rest.decode(errors="replace"))

    def say(self, name: str, line: str) -> None:
        self._remembered[name].append(line)
        prefix = f"{name:<{NAME_WIDTH}} | "
        if self._coloured:
            prefix = f"\x1b[{self._colour_of(name)}m{prefix}\x1b[0m"
        self._stream.write(f"{prefix}{line}\n")
        self._stream.flush()

    def last_lines(self, name: str) -> list[str]:
        return list(self._remembered[name])

    def _colour_of(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return COLOURS[self._names.index(name) % len(COLOURS)]

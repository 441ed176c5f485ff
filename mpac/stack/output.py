"""The output of the processes: each process appends to its own file in the state folder.

No process depends on a reader. With a pipe, a supervisor that is stopped or out of disk space would block every process, the
backends of PostgreSQL included, in a write to stderr. A write to a file that fails, because the disk is full for instance,
loses that text and nothing else.

| output | for |
|---|---|
| ``FileOutput`` | tests and benchmarks: the files alone |
| ``ConsoleOutput`` | `up`: also shows what is appended, each line after its process's name, from a thread of its own |
"""

import contextlib
import os
import shutil
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Protocol

from mpac.stack.home import FILE_MODE, Home, private_folder

OWN = "supervisor"
REMEMBERED_LINES = 20
REMEMBERED_BYTES = 65_536
CHUNK_BYTES = 1_048_576
LOOK_SECONDS = 0.1
FAREWELL_SECONDS = 2.0  # a terminal that does not accept the last lines by then does not get them
MOST_OWN_LINES = 10_000  # kept for a terminal that accepts nothing at the moment
MOST_BYTES = 33_554_432  # of one file; the previous part is kept as NAME.log.1
TRIM_SECONDS = 1.0
CLOSED = -1  # no descriptor: each write to it fails
NAME_WIDTH = 18
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)  # ANSI foregrounds that read on dark and light


class Output(Protocol):
    """Takes what a process prints."""

    def handle(self, name: str) -> IO[bytes]:
        """What the process gets as its stdout and stderr."""

    def say(self, name: str, line: str) -> None:
        """Record a line of the supervisor's own. It never raises and never waits for a reader."""

    def last_lines(self, name: str) -> list[str]:
        """Return the last lines that the process has printed since its ``handle`` was made."""


class FileOutput:
    """One file per process in the state folder."""

    def __init__(self, home: Home) -> None:
        self._folder = private_folder(home.logs)
        self._began: dict[str, int] = {}

    def handle(self, name: str) -> IO[bytes]:
        try:
            file = self._open(name)
        except OSError:  # no room even for an empty file: the process runs without output
            return open(os.devnull, "ab", buffering=0)
        self._began[name] = os.fstat(file.fileno()).st_size
        return file

    def say(self, name: str, line: str) -> None:
        with contextlib.suppress(OSError), self._open(OWN) as file:
            file.write(f"{name}: {line}\n".encode())

    def last_lines(self, name: str) -> list[str]:
        try:
            with self._path(name).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                began = self._began.get(name, 0)
                file.seek(max(began if began <= size else 0, size - REMEMBERED_BYTES))
                return file.read(REMEMBERED_BYTES).decode(errors="replace").splitlines()[-REMEMBERED_LINES:]
        except OSError:
            return []

    def _open(self, name: str) -> IO[bytes]:
        path = self._path(name)
        path.touch(mode=FILE_MODE)
        return path.open("ab", buffering=0)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.log"


class ConsoleOutput(FileOutput):
    """The files, and what is appended to them on ``descriptor``; it also keeps the files from growing without bound.

    ``follows=False`` shows the supervisor's own lines alone, for `up --detach`, whose output is a file beside the others.
    """

    def __init__(self, home: Home, *, descriptor: int | None = None, follows: bool = True) -> None:
        super().__init__(home)
        self._screen = Screen(_own_output() if descriptor is None else descriptor)
        self._follows = follows
        self._tails: dict[str, Tail] = {}
        self._own: deque[tuple[str, str]] = deque(maxlen=MOST_OWN_LINES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._show, name="output", daemon=True)
        self._thread.start()

    def handle(self, name: str) -> IO[bytes]:
        handle = super().handle(name)
        if name not in self._tails:
            self._tails[name] = Tail(self._path(name), self._began.get(name, 0))
        return handle

    def say(self, name: str, line: str) -> None:
        super().say(name, line)
        self._own.append((name, line))

    def print(self, text: str) -> None:
        """Show a text as it is; it goes into no file of the state folder unless our own output is one."""
        self._own.append(("", text))

    def close(self) -> None:
        """Show what is left, if the terminal takes it in time."""
        self._closing.set()
        self._thread.join(FAREWELL_SECONDS)

    def _show(self) -> None:
        trimmed = time.monotonic()
        closing = False
        while not closing:
            closing = self._closing.wait(LOOK_SECONDS)
            if self._follows:
                for name, tail in list(self._tails.items()):
                    self._screen.show(name, tail.new_lines())
            while self._own:
                name, text = self._own.popleft()
                self._screen.show(name, [text])
            if time.monotonic() - trimmed > TRIM_SECONDS:
                trimmed = time.monotonic()
                for path in self._folder.glob("*.log"):
                    trim(path)


def _own_output() -> int:
    return sys.stdout.fileno() if sys.stdout else CLOSED


class Screen:
    """A terminal, pipe or file that may be slow, full or gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._coloured = os.isatty(descriptor)
        self._names: list[str] = []

    def show(self, name: str, lines: list[str]) -> None:
        """Write the lines, each after the name, and wait as long as that takes. Lines that cannot be written are dropped."""
        prefix = self._prefix(name) if name and lines else ""
        rest = "".join(f"{prefix}{line}\n" for line in lines).encode()
        # A full disk may have room again, and a terminal that is gone costs one system call per line: so it is always tried.
        with contextlib.suppress(OSError):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def _prefix(self, name: str) -> str:
        prefix = f"{name:<{NAME_WIDTH}} | "
        if not self._coloured:
            return prefix
        if name not in self._names:
            self._names.append(name)
        return f"\x1b[{COLOURS[self._names.index(name) % len(COLOURS)]}m{prefix}\x1b[0m"


class Tail:
    """Read the lines that are appended to a file."""

    def __init__(self, path: Path, position: int) -> None:
        self._path = path
        self._position = position
        self._rest = b""

    def new_lines(self) -> list[str]:
        """Return the complete lines since the last call, at most ``CHUNK_BYTES`` of them."""
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._position:  # it was trimmed
                    self._position = 0
                file.seek(self._position)
                chunk = file.read(CHUNK_BYTES)
        except OSError:
            return []
        self._position += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) >= CHUNK_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode(errors="replace") for line in lines]


def trim(path: Path, *, most: int = MOST_BYTES) -> None:
    """Move the content of a log file that has become too long to NAME.log.1.

    The file itself is emptied rather than renamed, because its process holds it open; opened for appending, it goes on at the
    new end. A line that is written between the two steps is lost.
    """
    old = path.with_name(f"{path.name}.1")
    with contextlib.suppress(OSError):
        if path.stat().st_size <= most:
            return
        try:
            old.touch(mode=FILE_MODE)
            shutil.copyfile(path, old)
        except OSError:  # there is no room for both
            old.unlink(missing_ok=True)
        os.truncate(path, 0)

"""Store the output of the processes: each one appends to its own file in the state folder.

No process depends on a reader. With a pipe, a supervisor that is stopped or out of disk space would block every process,
including the backends of PostgreSQL, in a write to stderr. A failed write to a file, for instance on a full disk, loses that
text and nothing else.

| output | for |
|---|---|
| ``FileOutput`` | tests and benchmarks: the files alone |
| ``ConsoleOutput`` | `up`: also shows new lines (``mpac.stack.output_stream``), from a separate thread |
"""

import contextlib
import json
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import IO, Protocol

from mpac.stack.log_lines import LineFormatter, LineReader, LogLine, as_json
from mpac.stack.output_stream import encode_lines, is_coloured, is_terminal, own_output
from mpac.stack.state_folder import FILE_MODE, Home, private_folder

OWN = "supervisor"
SELF = "mpac"  # the supervisor's own name in ``say``
REMEMBERED_LINES = 20
REMEMBERED_BYTES = 65_536
CHUNK_BYTES = 1_048_576
POLL_SECONDS = 0.1
CLOSE_WITHIN_SECONDS = 2.0  # a terminal that does not accept the last lines by then loses them
MOST_OWN_LINES = 10_000  # buffered for a terminal that accepts nothing at the moment
MOST_BYTES = 33_554_432  # of one file; the previous part is in NAME.log.1
TRIM_SECONDS = 1.0


class Output(Protocol):
    """A destination for what processes print."""

    def handle(self, name: str) -> IO[bytes]:
        """Return the file that the process gets as its stdout and stderr."""

    def say(self, name: str, line: str, *, level: str = "WARNING") -> None:
        """Record a line of the supervisor about a process. It never raises and never waits for a reader."""

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
        except OSError:  # not even room for an empty file: the process runs without output
            return open(os.devnull, "ab", buffering=0)
        self._began[name] = os.fstat(file.fileno()).st_size
        return file

    def say(self, name: str, line: str, *, level: str = "WARNING") -> None:
        self._record(supervisor_line(name, line, level=level))

    def _record(self, line: LogLine) -> None:
        with contextlib.suppress(OSError), self._open(OWN) as file:
            file.write(encode_lines([json.dumps(line.fields, ensure_ascii=False)]))

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
    """Write what processes print to files, show new lines on ``descriptor``, and trim files that grow too large.

    ``follows=False`` shows the supervisor's own lines only. `up --detach` uses it, because its output is another log file.
    """

    def __init__(self, home: Home, *, descriptor: int | None = None, follows: bool = True) -> None:
        super().__init__(home)
        self._stream = OutputStream(own_output() if descriptor is None else descriptor)
        self._follows = follows
        self._tails: dict[str, Tail] = {}
        self._readers: dict[str, LineReader] = {}
        self._own: deque[LogLine | str] = deque(maxlen=MOST_OWN_LINES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._show, name="output", daemon=True)
        self._thread.start()

    def handle(self, name: str) -> IO[bytes]:
        handle = super().handle(name)
        if name not in self._tails:
            self._readers[name] = LineReader(name)
            self._tails[name] = Tail(self._path(name), self._began.get(name, 0))
        return handle

    @property
    def is_terminal(self) -> bool:
        """Whether the output goes to a terminal."""
        return self._stream.is_terminal

    def say(self, name: str, line: str, *, level: str = "WARNING") -> None:
        said = supervisor_line(name, line, level=level)
        self._record(said)
        self._own.append(said)

    def report(self, text: str, event: str, fields: Mapping[str, str]) -> None:
        """Show ``text`` to a person, or the event with its fields to a program."""
        line = supervisor_line(SELF, text.partition("\n")[0], level="INFO")
        line.fields |= {"event": event, **fields}
        self._record(line)
        self._own.append(text if self.is_terminal else line)

    def print(self, text: str) -> None:
        """Show a text as it is; it is written to no log file."""
        self._own.append(text)

    def close(self) -> None:
        """Show the remaining lines, if the terminal accepts them in time."""
        self._closing.set()
        self._thread.join(CLOSE_WITHIN_SECONDS)

    def _show(self) -> None:
        trimmed = time.monotonic()
        closing = False
        while not closing:
            closing = self._closing.wait(POLL_SECONDS)
            if self._follows:
                self._stream.show(self._new_lines())
            while self._own:
                self._stream.show([self._own.popleft()])
            if time.monotonic() - trimmed > TRIM_SECONDS:
                trimmed = time.monotonic()
                for path in self._folder.glob("*.log"):
                    trim(path)

    def _new_lines(self) -> list[LogLine]:
        """Return the new lines of all processes, sorted by time."""
        found = [(name, tail.new_lines()) for name, tail in list(self._tails.items())]
        lines = [self._readers[name].read(text) for name, texts in found for text in texts if text.strip()]
        return sorted(lines, key=attrgetter("at"))


def supervisor_line(name: str, said: str, *, level: str) -> LogLine:
    """Return a line of the supervisor about the process ``name``."""
    message = said if name == SELF else f"{name}: {said}"
    at = round(time.time(), 3)
    return LogLine(OWN, at, level, message, {"at": at, "level": level, "logger": OWN, "message": message}, is_json=True)


class OutputStream:
    """The standard output of `up`: a terminal, pipe or file that may be slow, full or closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.is_terminal = is_terminal(descriptor)
        self._format = LineFormatter(is_coloured=is_coloured(descriptor)).format_line if self.is_terminal else as_json

    def show(self, lines: Iterable[LogLine | str]) -> None:
        """Write lines, and texts as they are, for as long as it takes. What can't be written is dropped."""
        rest = encode_lines(line if isinstance(line, str) else self._format(line) for line in lines)
        # Always try: a full disk may have room again, and a terminal that is gone costs one system call per line.
        with contextlib.suppress(OSError):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


class Tail:
    """Read the lines that are appended to a file, even if it is trimmed, replaced or created later."""

    def __init__(self, path: Path, position: int) -> None:
        self._path = path
        self._position = position
        self._inode = 0  # of the file that the position belongs to; 0 while unknown
        self._rest = b""

    def new_lines(self) -> list[str]:
        """Return the complete lines since the last call, at most ``CHUNK_BYTES`` of them."""
        chunk = b""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if self._inode not in {0, found.st_ino}:  # another file has the name now
                    self._position = 0
                elif found.st_size < self._position:  # it was trimmed
                    chunk = self._read_trimmed()
                    self._position = 0
                self._inode = found.st_ino
                file.seek(self._position)
                added = file.read(CHUNK_BYTES)
        except OSError:
            return []
        self._position += len(added)
        chunk += added
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) >= CHUNK_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode(errors="replace") for line in lines]

    def _read_trimmed(self) -> bytes:
        """Return what was appended between the last call and the trimming; NAME.log.1 has it."""
        try:
            with old_part(self._path).open("rb") as file:
                file.seek(self._position)
                return file.read(CHUNK_BYTES)
        except OSError:
            return b""


def old_part(path: Path) -> Path:
    """Return the path of the part that was trimmed from ``path``."""
    return path.with_name(f"{path.name}.1")


def trim(path: Path, *, most: int = MOST_BYTES) -> None:
    """Move the content of a log file that has become too long to NAME.log.1.

    The file itself is emptied rather than renamed, because its process holds it open and, appending, continues at the new end.
    A line that is written between the two steps is lost.
    """
    old = old_part(path)
    with contextlib.suppress(OSError):
        if path.stat().st_size <= most:
            return
        try:
            old.touch(mode=FILE_MODE)
            shutil.copyfile(path, old)
        except OSError:  # there is no room for both
            old.unlink(missing_ok=True)
        os.truncate(path, 0)

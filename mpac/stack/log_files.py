"""Read the log files of a state folder: the last lines of all processes by time, then new lines.

The stack need not be running, because its log files stay in ``logs/`` after its end.
"""

import os
import time
from collections.abc import Collection, Iterator, Sequence
from operator import attrgetter
from pathlib import Path

from mpac.cli.errors import UserError, WrongUsage
from mpac.cli.offline_help import unknown_name_message
from mpac.stack.log_lines import LineReader, LogLine
from mpac.stack.process_output import Tail, old_part
from mpac.stack.state_folder import Home, command, suggest_home

BLOCK_BYTES = 262_144
LINES_BEFORE = 500
"""Lines to read in addition, because the first line that is shown may continue an earlier one, as in a traceback."""

POLL_SECONDS = 0.2


def log_names(home: Home) -> list[str]:
    """Return the names of the processes that have logs. Raises ``UserError`` if there is none."""
    names = sorted(path.stem for path in home.logs.glob("*.log")) if home.logs.is_dir() else []
    if not names:
        raise UserError(
            f"There are no logs in {home.path}: start a stack with `{command('up', home.path)}`.{suggest_home(home.path)}"
        )
    return names


def choose_logs(home: Home, wanted: Sequence[str]) -> list[str]:
    """Return the processes that ``wanted`` names; all if it is empty.

    ``worker`` names every worker. Raises ``WrongUsage``.
    """
    names = log_names(home)
    chosen: dict[str, None] = {}
    for word in wanted:
        found = [name for name in names if name == word or name.startswith(f"{word}-")]
        if not found:
            raise WrongUsage(
                unknown_name_message(
                    "log", word, [*names, *sorted({name.partition("-")[0] for name in names} - set(names))]
                )
            )
        chosen |= dict.fromkeys(found)
    return list(chosen) or names


def last_lines(home: Home, names: Collection[str], count: int) -> list[LogLine]:
    """Return the last ``count`` lines of these processes together, sorted by time."""
    found = [line for name in names for line in _read(home.logs / f"{name}.log", count)]
    return sorted(found, key=attrgetter("at"))[-count:] if count else []


class LogFollower:
    """Follow log files: yield the lines that are appended after this object was created."""

    def __init__(self, home: Home, names: Collection[str] | None) -> None:
        """Follow the named processes; with ``None`` all, including those without a log yet."""
        self._home = home
        self._names = names
        self._tails: dict[str, tuple[Tail, LineReader]] = {}
        self._follow_new_files(is_first=True)

    def lines(self) -> Iterator[list[LogLine]]:
        """Yield without end: each time the list of lines added since the last one, which may be empty."""
        while True:
            self._follow_new_files(is_first=False)
            added = [(reader, tail.new_lines()) for tail, reader in self._tails.values()]
            found = [reader.read(text) for reader, texts in added for text in texts if text.strip()]
            yield sorted(found, key=attrgetter("at"))
            if not found:
                time.sleep(POLL_SECONDS)

    def _follow_new_files(self, *, is_first: bool) -> None:
        names = self._names or [path.stem for path in self._home.logs.glob("*.log")]
        for name in names:
            if name not in self._tails:
                path = self._home.logs / f"{name}.log"
                position = path.stat().st_size if is_first and path.exists() else 0
                self._tails[name] = (Tail(path, position), LineReader(name))


def _read(path: Path, count: int) -> list[LogLine]:
    """Read the last lines of one file, at least ``count`` of them if the file has so many.

    Lines before the first known time get that time. If no line has a time, all get the time of the file.
    """
    reader = LineReader(path.stem)
    lines = [reader.read(text) for text in _last_of(path, count + LINES_BEFORE) if text.strip()]
    first = next((line.at for line in lines if line.at), None) or _modified_at(path)
    for line in lines:
        line.at = line.at or first
    return lines


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last_of(path: Path, count: int) -> list[str]:
    """Return the last ``count`` lines of a log file.

    Its trimmed part is included if the file itself has fewer lines.
    """
    lines = _read_end(path, count)
    if len(lines) < count:
        lines = _read_end(old_part(path), count - len(lines)) + lines
    return lines


def _read_end(path: Path, count: int) -> list[str]:
    try:
        with path.open("rb") as file:
            start = size = os.fstat(file.fileno()).st_size
            blocks: list[bytes] = []
            breaks = 0
            while start and breaks <= count:
                length = min(BLOCK_BYTES, start)
                start -= length
                file.seek(start)
                blocks.append(file.read(min(length, size)))
                breaks += blocks[-1].count(b"\n")
    except OSError:
        return []
    text = b"".join(reversed(blocks)).decode(errors="replace")
    return text.removesuffix("\n").split("\n")[-count:] if text and count else []

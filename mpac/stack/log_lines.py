"""Read the log lines of any process, and show them to a person or a program.

| written by | as | read as |
|---|---|---|
| our processes, the supervisor | JSON (``workflows.logs``) | its fields |
| PostgreSQL, Valkey, the sandbox provider | text with time and level | time, level, message |
| an interpreter, a shell | anything, for instance a traceback | a continuation of the previous line |

Log lines may hold what clients sent, so characters that control a terminal are shown as escapes.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

NAME_WIDTH = 17
LEVEL_WIDTH = 8
TIME_WIDTH = 12
MOST_SHOWN = 4_000  # characters of one message on a terminal; the file has all of it
MARGIN = " " * (TIME_WIDTH + NAME_WIDTH + LEVEL_WIDTH + 3)

PROCESS_COLOURS = (36, 32, 34, 35, 96, 92, 94, 95)  # ANSI foregrounds that read on dark and light
LEVEL_COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
DIM = "2"

LATEST = 250_000_000_000  # seconds since 1970: the year 9892, before the end of what a datetime holds
OWN_FIELDS = {"at", "level", "logger", "message", "process", "traceback"}
IN_THE_MESSAGE = {"method", "status", "task_id"}

UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, change the terminal's state or the direction of text, or cannot be encoded."""

POSTGRES = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) UTC (?P<level>[A-Z]+)\d?:  (?P<message>.*)", re.DOTALL
)
VALKEY = re.compile(
    r"\d+:[A-Z] (?P<at>\d\d? \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) (?P<level>[.*#-]) (?:WARNING:? )?(?P<message>.*)",
    re.DOTALL,
)
VALKEY_SIGNAL = re.compile(r"\d+:(?P<level>signal-handler) \((?P<at>\d+)\) (?P<message>.*)", re.DOTALL)
PLAIN = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \S+ (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<message>.*)",
    re.DOTALL,
)
LEVELS = {
    **{name: name for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")},
    **{"LOG": "INFO", "NOTICE": "INFO", "FATAL": "CRITICAL", "PANIC": "CRITICAL"},  # PostgreSQL
    **{".": "DEBUG", "-": "DEBUG", "*": "INFO", "#": "WARNING", "signal-handler": "INFO"},  # Valkey
}
"""Level as a program writes it → level. A name that is not here, such as DETAIL, continues the previous line."""


@dataclass(slots=True)
class LogLine:
    """One line. ``at`` is in seconds since 1970, or 0 if unknown; ``level`` is empty if the line continues another."""

    process: str
    at: float
    level: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)
    is_json: bool = False


class LineReader:
    """Read the lines of one process in order; a line without a time gets that of the previous one."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._at = 0.0

    def read(self, text: str) -> LogLine:
        """Return the line; never raises."""
        fields = _parse_object(text)
        line = self._parse_text(text) if fields is None else self._parse_fields(fields)
        self._at = line.at
        return line

    def _parse_fields(self, fields: dict[str, Any]) -> LogLine:
        at = fields.get("at")
        known = at if isinstance(at, int | float) and 0 < at < LATEST else self._at
        level = str(fields.get("level", "INFO"))
        return LogLine(self._process, known, level, str(fields.get("message", "")), fields, is_json=True)

    def _parse_text(self, text: str) -> LogLine:
        for pattern, read_time in TEXT_FORMATS:
            found = pattern.fullmatch(text)
            if found:
                level = LEVELS.get(found["level"], "")
                message = found["message"] if level else f"{found['level']}: {found['message']}"
                return LogLine(self._process, read_time(found["at"]) or self._at, level, message)
        return LogLine(self._process, self._at, "", text)


class LineFormatter:
    """Format lines for a terminal: time, process, level, message, then the fields that matter."""

    def __init__(self, *, is_coloured: bool) -> None:
        self._is_coloured = is_coloured
        self._names: list[str] = []
        self._day = datetime.now().astimezone().date()

    def format_line(self, line: LogLine) -> str:
        """Return one or several lines (a traceback, line breaks in the message), without the last line break."""
        moment = datetime.fromtimestamp(line.at).astimezone() if line.at else None
        first, *rest = _shorten(line.message).split("\n")
        rest += str(line.fields.get("traceback") or "").splitlines()
        time = moment.strftime("%H:%M:%S.%f")[:TIME_WIDTH] if moment and line.level else ""
        level = self._colour(f"{escape_controls(line.level):<{LEVEL_WIDTH}}", LEVEL_COLOURS.get(line.level, ""))
        head = f"{time:<{TIME_WIDTH}} {self._process(line.process)} {level} {escape_controls(first)}{self._marks(line)}"
        lines = [head, *(MARGIN + escape_controls(more) for more in rest)]
        if moment and moment.date() != self._day:
            self._day = moment.date()
            lines.insert(0, self._colour(f"-- {self._day} --", DIM))
        return "\n".join(lines)

    def _process(self, name: str) -> str:
        if name not in self._names:
            self._names.append(name)
        return self._colour(
            f"{name:<{NAME_WIDTH}}", str(PROCESS_COLOURS[self._names.index(name) % len(PROCESS_COLOURS)])
        )

    def _marks(self, line: LogLine) -> str:
        shown = {name: value for name, value in line.fields.items() if name not in OWN_FIELDS | IN_THE_MESSAGE}
        marks = "".join(f" {escape_controls(name)}={_value(value)}" for name, value in shown.items())
        return self._colour(f" {marks}", DIM) if marks else ""

    def _colour(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._is_coloured and code else text


def as_json(line: LogLine) -> str:
    """Return the line as one JSON object that names its process.

    The text of a line that is not JSON is the object's ``message``.
    """
    if line.is_json:
        said = {"process": line.process, **line.fields}
    else:
        known = {"at": round(line.at, 3) or None, "process": line.process, "level": line.level or None}
        said = {**{name: value for name, value in known.items() if value is not None}, "message": line.message}
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(said, ensure_ascii=False, default=str))


def escape_controls(text: str) -> str:
    """Return the text without characters that a terminal interprets."""
    return UNSAFE.sub(_escape, text.replace("\t", "    "))


def last_message(lines: Iterable[str]) -> str:
    """Return the message of the last line that has text; empty if no line has any.

    The message explains why a process ended.
    """
    last = next((line for line in reversed(list(lines)) if line.strip()), "")
    line = LineReader("").read(last)
    text = (
        f"{line.message} ({line.fields['traceback'].splitlines()[-1]})"
        if line.fields.get("traceback")
        else line.message
    )
    return escape_controls(_shorten(text)).strip()


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return escape_controls(json.dumps(text, ensure_ascii=False) if re.search(r'[\s"=]', text) else text)


def _shorten(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}"  # noqa: PLR2004 - two digits are enough


def _parse_object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = orjson.loads(text)
    except ValueError:  # also text that cannot be encoded
        return None
    return found if isinstance(found, dict) else None


def _time_parser(form: str, *, is_utc: bool) -> Callable[[str], float]:
    def read_time(text: str) -> float:
        try:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 - the next line decides on the zone
            return (moment.replace(tzinfo=UTC) if is_utc else moment.astimezone()).timestamp()
        except (ValueError, OverflowError):
            return 0.0

    return read_time


def _seconds(text: str) -> float:
    return float(text) if int(text) < LATEST else 0.0


TEXT_FORMATS = (
    (POSTGRES, _time_parser("%Y-%m-%d %H:%M:%S.%f", is_utc=True)),
    (VALKEY, _time_parser("%d %b %Y %H:%M:%S.%f", is_utc=False)),
    (VALKEY_SIGNAL, _seconds),
    (PLAIN, _time_parser("%Y-%m-%d %H:%M:%S,%f", is_utc=False)),
)

"""A log line of any process is readable on a terminal and becomes a JSON object in a pipe."""

import json
import random
from datetime import UTC, datetime

import pytest

from mpac.stack.log_lines import UNSAFE, LineFormatter, LineReader, LogLine, as_json, last_message
from mpac.stack.output_stream import is_coloured

NOON = datetime(2026, 11, 30, 12, 0, 0, 39_000, tzinfo=UTC)
AT = NOON.timestamp()


def line_of(process: str, *texts: str) -> LogLine:
    reader = LineReader(process)
    return [reader.read(text) for text in texts][-1]


def formatted(line: LogLine) -> str:
    """Return the formatted line without the date line, which depends on the current day."""
    return LineFormatter(is_coloured=False).format_line(line).rpartition("--\n")[2]


def ours(**fields: object) -> str:
    return json.dumps({"at": AT, "level": "INFO", "logger": "x", "message": "hello", **fields})


LOCAL = NOON.astimezone()
TEXTS = {
    "postgres": ("2026-11-30 12:00:00.039 UTC LOG:  ready", "INFO", "ready"),
    "postgres of a session": ("2026-11-30 12:00:00.039 UTC FATAL:  no password", "CRITICAL", "no password"),
    "postgres' hint": ("2026-11-30 12:00:00.039 UTC STATEMENT:  SELECT 1", "", "STATEMENT: SELECT 1"),
    "valkey": (f"17:M {LOCAL:%d %b %Y %H:%M:%S}.039 # disk full", "WARNING", "disk full"),
    "valkey's own word for it": (f"17:M {LOCAL:%d %b %Y %H:%M:%S}.039 # WARNING: No room", "WARNING", "No room"),
    "valkey on a signal": (f"17:signal-handler ({AT:.0f}) Received SIGTERM", "INFO", "Received SIGTERM"),
    "sandbox": (f"{LOCAL:%Y-%m-%d %H:%M:%S},039 sandbox.sqlite_storage ERROR gone", "ERROR", "gone"),
}


@pytest.mark.parametrize(("text", "level", "message"), TEXTS.values(), ids=list(TEXTS))
def test_the_log_formats_of_other_programs_are_parsed(text: str, level: str, message: str) -> None:
    line = LineReader("x").read(text)
    assert (line.level, line.message) == (level, message)
    assert line.at == pytest.approx(AT)


def test_a_terminal_shows_time_process_level_message_and_ids_without_json() -> None:
    shown = formatted(line_of("api", ours(event="payment.quarantined", payment_id="pay_1", method="GET", task_id="t")))
    assert shown.split() == [
        LOCAL.strftime("%H:%M:%S.039"),
        "api",
        "INFO",
        "hello",
        "event=payment.quarantined",
        "payment_id=pay_1",
    ]


def test_a_traceback_is_shown_below_its_log_line() -> None:
    shown = formatted(
        line_of("api", ours(level="ERROR", message="failed\nbadly", traceback="Traceback\n  File x\nOops: no"))
    )
    assert [part.strip() for part in shown.splitlines()[1:]] == ["badly", "Traceback", "File x", "Oops: no"]
    plain = line_of("api", ours(), '  File "x.py", line 1')
    assert formatted(plain).split() == ["api", "File", '"x.py",', "line", "1"]
    assert plain.at == AT, "it continues the line before, and is sorted with it"


HOSTILE = "a\x1b[2J\x1b]0;own\x07\r\x9b31m\u202egnp.exe\u2066\x7f\tb"


@pytest.mark.parametrize("where", ["message", "field", "name", "traceback", "plain", "level"])
def test_control_characters_of_a_log_line_are_escaped_on_the_terminal(where: str) -> None:
    line = {
        "message": line_of("api", ours(message=HOSTILE)),
        "field": line_of("api", ours(payment_id=HOSTILE)),
        "name": line_of("api", ours(**{HOSTILE: 1})),
        "traceback": line_of("api", ours(traceback=HOSTILE)),
        "plain": line_of("api", HOSTILE),
        "level": line_of("api", ours(level=HOSTILE)),
    }[where]
    for shown in (LineFormatter(is_coloured=False).format_line(line), as_json(line)):
        assert not UNSAFE.search(shown.replace("\n", "")), shown
    assert ("\\u001b[2J" if where == "field" else "\\x1b[2J") in formatted(line)
    assert HOSTILE in (
        json.loads(as_json(line)).get("message"),
        *json.loads(as_json(line)),
        *json.loads(as_json(line)).values(),
    )


def test_json_output_has_one_object_per_line_with_the_process_name() -> None:
    assert json.loads(as_json(line_of("api", ours(event="x")))) == {"process": "api", **json.loads(ours(event="x"))}
    assert json.loads(as_json(line_of("postgres", TEXTS["postgres"][0]))) == {
        "at": AT,
        "process": "postgres",
        "level": "INFO",
        "message": "ready",
    }


STRANGE = [
    "{",
    "{}",
    '{"at": "x"}',
    '{"at": 1e300, "message": {"a": 1}}',
    '{"at": NaN}',
    "[1]",
    '{"level": null}',
    "{" * 5_000,
    "",
]


@pytest.mark.parametrize("text", STRANGE, ids=lambda text: text[:12])
def test_a_malformed_json_log_line_is_shown_as_text(text: str) -> None:
    line = LineReader("x").read(text)
    assert LineFormatter(is_coloured=True).format_line(line)
    assert json.loads(as_json(line))["process"] == "x"


def test_random_text_does_not_break_the_log_formatter() -> None:
    chance = random.Random(8)
    for _ in range(300):
        text = "".join(chance.choice('{}":,[]\x00\x1b\ud800é日2026- LOG') for _ in range(chance.randrange(40)))
        line = LineReader("x").read(text)
        LineFormatter(is_coloured=True).format_line(line).encode()
        as_json(line).encode()


def test_the_date_is_printed_when_it_changes() -> None:
    painter = LineFormatter(is_coloured=False)
    days = [painter.format_line(LogLine("x", AT + hours * 3_600, "INFO", "m")) for hours in (0, 0, 48)]
    assert [day.startswith("-- 20") for day in days[1:]] == [False, True]


def test_a_very_long_message_is_truncated_on_the_terminal_but_not_in_json() -> None:
    line = line_of("api", ours(message="x" * 1_000_000))
    assert len(formatted(line)) < 5_000
    assert len(as_json(line)) > 1_000_000


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["{", ours(message="No key", traceback="Traceback\nValueError: short"), ""], "No key (ValueError: short)"),
        (["2026-11-30 12:00:00.039 UTC FATAL:  could not map memory"], "could not map memory"),
        (["  ", ""], ""),
    ],
)
def test_the_last_log_lines_of_a_process_are_summarised_in_a_sentence(lines: list[str], said: str) -> None:
    assert last_message(lines) == said


@pytest.mark.parametrize("variables", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_colours_are_disabled_by_no_color_and_dumb_terminals(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.isatty", lambda _: True)
    assert is_coloured(1, {"TERM": "xterm", "NO_COLOR": ""})
    assert not is_coloured(1, variables)

"""Log lines are written in groups and in order, none is lost at an orderly end, and errors are written at once."""

import ast
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflows import logs
from workflows.logs import EXTRA_FIELDS, GroupedLines, JsonLines, log_info

ROOT = Path(__file__).parents[3]


class RecordingStream(io.StringIO):
    """A stream that signals each write and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.written = threading.Event()

    def write(self, text: str) -> int:
        self.writes += 1
        count = super().write(text)
        self.written.set()
        return count

    @property
    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def long_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend the timeout of the stream, because on a busy machine the writing thread may be late."""
    monkeypatch.setattr(logs, "FLUSH_SECONDS", 60)


@pytest.fixture
def stream() -> RecordingStream:
    return RecordingStream()


@pytest.fixture
def logger(stream: RecordingStream) -> Iterator[logging.Logger]:
    handler = GroupedLines(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("alone", logging.INFO)
    logger.addHandler(handler)
    yield logger
    handler.close()


def test_extra_fields_of_a_logging_call_are_known_and_reach_the_line() -> None:
    added = {
        (path.name, key.value)
        for package in ("api", "workers", "workflows", "beat")
        for path in (ROOT / package).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("logger.")
        for keyword in call.keywords
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict)
        for key in keyword.value.keys
        if isinstance(key, ast.Constant)
    }
    assert ("dead_letters.py", "task_id") in added, "the search finds nothing any more"
    assert {(file, key) for file, key in added if key not in EXTRA_FIELDS} == set()
    record = logging.makeLogRecord({"msg": "closed", "settlement_id": "stl_1", "refund_id": "rfd_1"})
    assert json.loads(JsonLines().format(record)).items() >= {"settlement_id": "stl_1", "refund_id": "rfd_1"}.items()


def test_log_lines_written_together_share_a_write_and_keep_their_order(
    logger: logging.Logger, stream: RecordingStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SPACING_SECONDS", 0.2)  # even a busy machine logs all lines within it
    for number in range(50):
        logger.info("line %d", number)
    assert stream.written.wait(10)
    logger.handlers[0].flush()
    assert stream.messages == [f"line {number}" for number in range(50)]
    assert stream.writes < 10


def test_a_log_line_is_written_without_a_flush(logger: logging.Logger, stream: RecordingStream) -> None:
    logger.info("alone")
    assert stream.written.wait(10)
    assert stream.messages == ["alone"]


def test_an_error_is_written_at_once_with_the_lines_before_it(logger: logging.Logger, stream: RecordingStream) -> None:
    logger.info("before")
    logger.error("now")
    assert stream.messages == ["before", "now"]


def test_the_number_of_buffered_log_lines_is_limited(
    logger: logging.Logger, stream: RecordingStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_WAITING", 3)
    monkeypatch.setattr(logs, "SPACING_SECONDS", 60)
    for number in range(3):
        logger.info("line %d", number)
    assert stream.messages == ["line 0", "line 1", "line 2"]


def test_a_full_pipe_does_not_block_threads_that_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(logs, "MAX_WAITING", 100)
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours) as reader:
        handler = GroupedLines(stream)
        handler.setFormatter(JsonLines())
        logger = logging.Logger("alone", logging.INFO)
        logger.addHandler(handler)
        logger.error("first")
        for number in range(1_000):  # a hundred of these lines fill the pipe
            logger.error("%d %s", number, "x" * 5_000)
        handler.flush()
        lines: list[str] = []
        reading = threading.Thread(target=lambda: lines.extend(json.loads(line)["message"] for line in reader))
        reading.start()
        monkeypatch.setattr(logs, "FLUSH_SECONDS", 60)
        while handler._is_stuck:  # until the stream accepts data again
            handler.flush()
        logger.error("last")
        handler.close()
        stream.close()
        reading.join(60)
    assert (lines[0], lines[-1]) == ("first", "last")
    assert [line for line in lines if "log lines were dropped" in line], "and it says so"
    assert len(lines) < 1_000


def test_a_log_line_after_shutdown_is_written_immediately(logger: logging.Logger, stream: RecordingStream) -> None:
    logger.handlers[0].close()
    logger.info("late")
    assert stream.messages == ["late"]


def test_a_closed_stream_does_not_break_logging(logger: logging.Logger, stream: RecordingStream) -> None:
    stream.close()
    logger.error("unheard")


def test_a_process_that_exits_cleanly_has_written_all_log_lines() -> None:
    code = "import logging; from workflows.logs import configure_logs; configure_logs('INFO'); logging.info('farewell')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stderr)["message"] == "farewell"


def test_a_line_that_cannot_be_formatted_raises_nothing_in_its_caller(
    logger: logging.Logger, stream: RecordingStream, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("%d payments", "some")
    assert "Logging error" in capsys.readouterr().err
    logger.error("the next line")
    assert stream.messages == ["the next line"]


FIELDS: dict[str, object] = {
    "status": 201,
    "request_id": "req_1",
    "caller": None,
    "path": Path("é"),
    "milliseconds": 1.5,
}


def test_a_line_of_a_hot_path_is_the_same_as_that_of_its_logger(
    stream: RecordingStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = GroupedLines(stream)
    handler.setFormatter(JsonLines())
    monkeypatch.setattr(logging.root, "handlers", [handler])
    logger = logging.getLogger("hot.path")
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.info("%s: %s", "100 %", "done", extra=FIELDS)
    log_info(logger, "100 %: done", FIELDS)
    monkeypatch.setattr(logger, "level", logging.WARNING)
    logging.root.manager._clear_cache()  # type: ignore[attr-defined]
    log_info(logger, "not this", FIELDS)
    handler.flush()
    slow, hot = (json.loads(line) for line in stream.getvalue().splitlines())
    assert {**hot, "at": 0} == {**slow, "at": 0}
    assert list(hot) == list(slow)
    assert 0 <= hot["at"] - slow["at"] < 60
    handler.close()


def test_a_line_of_a_hot_path_reaches_other_handlers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hot.path"):
        log_info(logging.getLogger("hot.path"), "100 %", {"request_id": "req_1"})
    assert [(record.getMessage(), record.__dict__["request_id"]) for record in caplog.records] == [("100 %", "req_1")]

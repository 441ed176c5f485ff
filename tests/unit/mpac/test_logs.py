"""`mpac logs` prints the last lines of several processes, follows new ones, and reports missing logs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpac.cli.errors import UserError, WrongUsage
from mpac.stack import log_files
from mpac.stack.log_files import LogFollower, choose_logs, last_lines
from mpac.stack.log_lines import LogLine
from mpac.stack.process_output import trim
from mpac.stack.state_folder import ROOT, Home, open_home
from tests.polling import HANGS_AFTER_SECONDS

WORDS = (sys.executable, "-m", "mpac", "logs")


def ours(at: float, message: str) -> str:
    return json.dumps({"at": at, "level": "INFO", "logger": "x", "message": message})


def append(home: Home, name: str, *lines: str) -> None:
    with (home.logs / f"{name}.log").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def logs(home: Home | Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = home.path if isinstance(home, Home) else home
    return subprocess.run(
        [*WORDS, *words, "--home", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a state folder with the logs of a stack that is no longer running."""
    home = open_home(tmp_path / "state")
    home.logs.mkdir()
    append(home, "api", ours(1, "a"), ours(4, "d"))
    append(home, "worker-payments-1", ours(2, "b"), "Traceback", ours(5, "e"))
    append(home, "supervisor", ours(3, "c"))
    return home


def messages(lines: list[LogLine]) -> list[str]:
    return [line.message for line in lines]


def test_log_lines_of_several_processes_are_sorted_by_time(home: Home) -> None:
    assert messages(last_lines(home, choose_logs(home, []), 100)) == ["a", "b", "Traceback", "c", "d", "e"]
    assert messages(last_lines(home, choose_logs(home, []), 2)) == ["d", "e"]
    assert messages(last_lines(home, choose_logs(home, ["supervisor", "worker"]), 3)) == ["Traceback", "c", "e"]
    assert last_lines(home, choose_logs(home, []), 0) == []


@pytest.mark.parametrize("block", [1, 7, 1_000_000])
def test_the_last_log_lines_are_found_with_any_block_size(
    home: Home, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "BLOCK_BYTES", block)
    append(home, "api", *(ours(10 + n, f"日{n}") for n in range(50)))
    assert messages(last_lines(home, ["api"], 3)) == ["日47", "日48", "日49"]
    assert len(last_lines(home, ["api"], 100)) == 52


def test_the_trimmed_part_of_a_log_is_read_too(home: Home) -> None:
    trim(home.logs / "api.log", most=1)
    append(home, "api", ours(6, "f"))
    assert messages(last_lines(home, ["api"], 2)) == ["d", "f"]


def test_a_mistyped_log_name_is_corrected_and_all_names_are_listed(home: Home) -> None:
    with pytest.raises(WrongUsage, match=r"No such log 'wroker'. Did you mean `worker`\? Choose from: api, supervisor"):
        choose_logs(home, ["api", "wroker"])
    done = logs(home, "supervisro")
    assert done.returncode == 2
    assert done.stderr.startswith("mpac: No such log 'supervisro'. Did you mean `supervisor`?")


def test_missing_logs_are_reported_with_advice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There are no logs in .*none: start a stack with .*--home .*none"):
        choose_logs(Home(tmp_path / "none"), [])
    done = logs(tmp_path / "none", "--follow")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1


def following(home: Home, names: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the messages of each look at the files, without waiting between looks."""
    monkeypatch.setattr(log_files, "POLL_SECONDS", 0)
    return (messages(lines) for lines in LogFollower(home, names).lines())


def test_following_logs_survives_trimming_replacement_and_new_processes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    news = following(home, None, monkeypatch)
    assert next(news) == []
    append(home, "api", ours(6, "f"))
    assert next(news) == ["f"]
    append(home, "api", ours(7, "g"))
    trim(home.logs / "api.log", most=1)  # before the follower has read g
    append(home, "api", ours(8, "h"))
    assert next(news) == ["g", "h"]
    (home.logs / "api.log").rename(home.logs / "old")  # as `up --detach` does with up.log
    append(home, "api", *(ours(9, "longer than the file before it" * 20) for _ in range(9)))
    assert len(next(news)) == 9
    append(home, "worker-payments-2", ours(10, "new"))
    assert next(news) == ["new"]


def test_following_shows_only_the_named_processes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    news = following(home, ["api"], monkeypatch)
    append(home, "supervisor", ours(6, "x"))
    append(home, "api", ours(6, "f"))
    assert next(news) == ["f"]


def test_logs_prints_json_with_the_option_and_plain_lines_without(home: Home) -> None:
    made = [json.loads(line) for line in logs(home, "--json", "--lines", "2").stdout.splitlines()]
    assert [(line["process"], line["message"]) for line in made] == [("api", "d"), ("worker-payments-1", "e")]
    shown = logs(home, "-n", "2")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [line.split()[1:] for line in shown.stdout.splitlines()[-2:]] == [
        ["api", "INFO", "d"],
        ["worker-payments-1", "INFO", "e"],
    ]
    assert "\x1b" not in shown.stdout


def test_logs_ends_quietly_when_its_reader_disconnects(home: Home) -> None:
    for words in (["--follow"], ["--lines", "1000000"]):
        with subprocess.Popen(
            [*WORDS, *words, "--home", str(home.path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout
            assert process.stderr
            assert process.stdout.readline()
            process.stdout.close()
            process.wait(HANGS_AFTER_SECONDS)
            assert process.stderr.read() == b""


def test_an_unreadable_log_is_left_out(home: Home) -> None:
    os.unlink(home.logs / "api.log")
    (home.logs / "api.log").mkdir()
    assert messages(last_lines(home, choose_logs(home, []), 1)) == ["e"]

"""The lock and run.json allow one stack per folder, and a file that was left behind is recognised as stale."""

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mpac.cli.errors import UserError
from mpac.stack.attach import attach
from mpac.stack.clock.find_stack import find_own_stack
from mpac.stack.run_file import (
    RunInfo,
    clear_leftovers,
    exclusive_lock,
    is_running,
    read_run,
    start_time,
    supervisor_pid,
    unreadable_message,
    write_run,
)
from mpac.stack.state_folder import Home, open_home

WHOLE: RunInfo = {
    **dict.fromkeys(("api_url", "flower_url", "sandbox_url", "database_url", "broker_url"), ""),
    "flower_auth": ["mpac", "secret"],
    "names": [],
    "ready": [],
    "pids": {"supervisor": 1},
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "state")


def test_a_second_stack_in_the_folder_is_refused_with_the_pid_of_the_first(home: Home) -> None:
    with (
        exclusive_lock(home),
        pytest.raises(UserError, match=rf"already runs.*pid {os.getpid()}.*run.py down"),
        exclusive_lock(home),
    ):
        pass
    with exclusive_lock(home):
        assert supervisor_pid(home) == os.getpid()


def test_a_status_probe_is_not_mistaken_for_a_running_stack(home: Home) -> None:
    looking = os.open(home.lock_file, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_SH)  # as is_running does, only longer
    threading.Timer(0.05, os.close, [looking]).start()
    with exclusive_lock(home):
        assert supervisor_pid(home) == os.getpid()


def test_a_run_file_without_a_running_supervisor_is_ignored(home: Home) -> None:
    assert not is_running(home)
    with exclusive_lock(home):
        write_run(home, WHOLE)
        assert read_run(home) == WHOLE
    assert read_run(home) is None
    assert supervisor_pid(home) is None


def test_foreign_processes_with_recorded_pids_are_not_waited_for(home: Home) -> None:
    write_run(home, {"pids": {"postgres": os.getpid(), "valkey": 2**22 + 1}, "born": {"postgres": "1", "valkey": "2"}})
    clear_leftovers(home)
    assert not home.run_file.exists()


def test_a_leftover_process_that_keeps_running_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpac.stack.run_file.LEFTOVERS_WITHIN_SECONDS", 0.05)
    write_run(home, {"pids": {"postgres": os.getpid()}, "born": {"postgres": start_time(os.getpid())}})
    with pytest.raises(UserError, match=f"postgres of the last run.*kill {os.getpid()}"):
        clear_leftovers(home)


def test_an_incomplete_run_file_is_ignored(home: Home) -> None:
    home.run_file.write_text('{"pids": {')
    with exclusive_lock(home):
        assert read_run(home) is None


@pytest.mark.parametrize(
    "content",
    ["", '{"half', "[]", "{}", '{"pids": {"supervisor": 1}}', *(json.dumps({**WHOLE, name: None}) for name in WHOLE)],
)
def test_every_command_that_needs_a_damaged_run_file_names_it(home: Home, content: str) -> None:
    with exclusive_lock(home):
        home.run_file.write_text(content)
        assert read_run(home) is None
        said: list[Any] = [unreadable_message(home)]
        for command in (lambda: find_own_stack(home.path, {}), lambda: attach(home.path, needs=["MPAC_NEVER_SET"])):
            with pytest.raises(UserError) as caught:
                command()
            said.append(str(caught.value))
    assert all("run.json is missing or damaged" in sentence and "run.py down" in sentence for sentence in said), said
    assert unreadable_message(home) == ""


def test_a_missing_run_file_means_starting_only_while_the_lock_is_new(home: Home) -> None:
    with exclusive_lock(home):
        assert "is starting" in unreadable_message(home)
        os.utime(home.lock_file, (1, 1))
        assert "run.json is missing or damaged" in unreadable_message(home)


@pytest.mark.parametrize("content", ['{"pids": {}, "born": 5}', '{"pids": []}', "5", '{"half'])
def test_a_damaged_stale_run_file_does_not_prevent_the_next_start(home: Home, content: str) -> None:
    home.run_file.write_text(content)
    clear_leftovers(home)
    assert not home.run_file.exists()

"""Processes write their own log files and never wait for the supervisor, its terminal or the disk."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psycopg
import pytest

from mpac.stack.local_stack import LocalStack
from mpac.stack.process_output import ConsoleOutput, FileOutput, trim
from mpac.stack.run_file import RunInfo, read_run
from mpac.stack.state_folder import ROOT, Home, open_home
from mpac.stack.supervisor import Supervisor
from tests.integration.mpac.stack_harness import idle_process, is_alive, mpac
from tests.polling import HANGS_AFTER_SECONDS, until

SERVERS = ("--only", "postgres", "--only", "valkey", "--ports", "free")
LONG = "x" * 1_000
FLOODS = 500
"""Number of errors that PostgreSQL logs, each with a statement of 1,000 characters: more than any pipe holds."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a state folder. A stack that the test leaves running is stopped afterwards."""
    folder = tmp_path / "state"
    yield Home(folder)
    mpac("down", home=folder)


@contextmanager
def foreground_stack(home: Home, *, stdout: int | IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start `up` as a shell does, with its output in ``stdout``, and stop it after the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MPAC_")}
    words = [sys.executable, "-m", "mpac", "up", *SERVERS, "--home", str(home.path)]
    with subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=stdout, stderr=stdout, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            if process.stdout:
                process.stdout.close()
            process.wait(HANGS_AFTER_SECONDS)


async def wait_until_ready(home: Home) -> RunInfo:
    """Wait until the whole stack is ready, and return its run file."""
    await until(lambda: bool((read_run(home) or {}).get("complete")), within=HANGS_AFTER_SECONDS)
    return read_run(home) or {}


async def check_postgres_works(info: RunInfo) -> None:
    """Assert twice that PostgreSQL serves a connection that makes it log many errors."""
    for _ in range(2):
        async with (
            asyncio.timeout(HANGS_AFTER_SECONDS),
            await psycopg.AsyncConnection.connect(info["database_url"], autocommit=True) as connection,
        ):
            for _ in range(FLOODS):
                with pytest.raises(psycopg.errors.UndefinedColumn):
                    await connection.execute(f"SELECT {LONG}".encode())


async def test_a_stopped_supervisor_blocks_no_other_process(home: Home) -> None:
    with foreground_stack(home, stdout=subprocess.PIPE) as up:
        info = await wait_until_ready(home)
        up.send_signal(signal.SIGSTOP)
        await check_postgres_works(info)


async def test_a_blocked_terminal_delays_neither_the_processes_nor_their_restart(home: Home) -> None:
    with foreground_stack(home, stdout=subprocess.PIPE):
        info = await wait_until_ready(home)
        await check_postgres_works(info)
        os.kill(info["pids"]["valkey"], signal.SIGKILL)
        await until(lambda: (read_run(home) or info)["pids"].get("valkey", 0) not in {0, info["pids"]["valkey"]})
    assert not any(is_alive(pid) for pid in info["pids"].values()), "it stops in spite of the full pipe"


async def test_a_closed_output_pipe_does_not_end_the_stack(home: Home) -> None:
    with foreground_stack(home, stdout=subprocess.PIPE) as up:
        info = await wait_until_ready(home)
        assert up.stdout
        up.stdout.close()  # as `up | head` does
        await check_postgres_works(info)
        assert up.poll() is None


async def test_closing_the_terminal_stops_the_stack_cleanly(home: Home) -> None:
    ours, theirs = pty.openpty()
    with foreground_stack(home, stdout=theirs) as up:
        os.close(theirs)
        info = await wait_until_ready(home)
        os.close(ours)
        up.send_signal(signal.SIGHUP)  # as the kernel does when the controlling terminal closes
        assert await asyncio.to_thread(up.wait, HANGS_AFTER_SECONDS) == 0
    assert not any(is_alive(pid) for pid in info["pids"].values())


async def test_passwords_are_masked_unless_the_output_is_a_terminal(home: Home, tmp_path: Path) -> None:
    with (tmp_path / "kept").open("wb") as kept, foreground_stack(home, stdout=kept):
        info = await wait_until_ready(home)
        await until(lambda: "Ready." in (tmp_path / "kept").read_text())
    said = (tmp_path / "kept").read_text()
    password = info["database_url"].split("@")[0].rsplit(":", 1)[1]
    assert password not in said
    assert info["database_url"].replace(password, "***") in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands in for a full disk, and is Linux's")
async def test_servers_keep_serving_when_their_log_cannot_be_written(tmp_path: Path) -> None:
    home = open_home(tmp_path / "state")
    FileOutput(home)
    for name in ("postgres", "valkey", "supervisor"):
        (home.logs / f"{name}.log").symlink_to("/dev/full")
    async with LocalStack(home.path, services=["postgres", "valkey"], durable=False) as stack:
        await check_postgres_works(stack.info())
        stack.kill("valkey", signal.SIGKILL)
        await stack.wait_ready("valkey")


async def test_a_process_starts_although_its_log_cannot_be_opened(tmp_path: Path) -> None:
    output = FileOutput(open_home(tmp_path / "state"))
    (tmp_path / "state" / "logs" / "worker.log").mkdir()  # stands for a disk without free space
    supervisor = Supervisor(output, restart=True, changed=lambda: None)
    supervisor.start(idle_process("worker"))
    await supervisor.wait_ready("worker")
    assert output.last_lines("worker") == []
    await supervisor.stop("worker")


async def test_appended_log_lines_are_shown_even_after_the_file_was_trimmed(tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    home = open_home(tmp_path / "state")
    with shown.open("wb") as screen:
        output = ConsoleOutput(home, descriptor=screen.fileno())
        with output.handle("api") as file:
            file.write(b"one\ntw")
            await until(lambda: "one" in shown.read_text())
            file.write(b"o\n")
            await until(lambda: "two" in shown.read_text())
            trim(home.logs / "api.log", most=4)
            file.write(b"three\n")
            await until(lambda: "three" in shown.read_text())
            output.say("api", "four")
        output.close()
    lines = [json.loads(line) for line in shown.read_text().splitlines()]
    assert lines[:3] == [{"process": "api", "message": word} for word in ("one", "two", "three")]
    assert (lines[3]["process"], lines[3]["level"], lines[3]["message"]) == ("supervisor", "WARNING", "api: four")
    assert [json.loads(line)["message"] for line in (home.logs / "supervisor.log").read_text().splitlines()] == [
        "api: four"
    ]
    assert (home.logs / "api.log").read_text() == "three\n"
    assert (home.logs / "api.log.1").read_text() == "one\ntwo\n"
    assert output.last_lines("api") == ["three"]

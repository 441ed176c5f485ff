"""Run `up`, `status`, `down` and `reset` as a user does, with the database and broker servers only."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mpac.stack.movable_clock import MOVE
from mpac.stack.run_file import exclusive_lock, read_run
from mpac.stack.state_folder import ROOT, Home, open_home, private_folder
from tests.integration.mpac.stack_harness import is_alive, mpac
from tests.polling import HANGS_AFTER_SECONDS, until

SERVERS = ("--only", "postgres", "--only", "valkey", "--ports", "free")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a state folder. A stack that the test leaves running is stopped afterwards."""
    folder = tmp_path / "state"
    yield folder
    mpac("down", home=folder)


def pids_in(home: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(Home(home).run_file.read_text())["pids"]
    return found


async def test_up_detach_status_and_down_work_in_sequence(home: Path) -> None:
    up = mpac("up", "--detach", *SERVERS, home=home)
    assert up.returncode == 0, up.stderr
    pids = pids_in(home)
    assert pids.keys() == {"supervisor", "postgres", "valkey"}
    url = json.loads(Home(home).run_file.read_text())["database_url"]
    password = url.split("@")[0].rsplit(":", 1)[1]
    assert url.replace(password, "***") in up.stdout  # the output may be stored in a file
    assert password not in up.stdout + (home / "logs" / "up.log").read_text()

    status = mpac("status", home=home)
    assert status.returncode == 0, status.stdout
    assert all(str(pid) in status.stdout for pid in pids.values())

    again = mpac("up", *SERVERS, home=home)
    assert again.returncode == 1
    assert f"already runs in {home} (pid {pids['supervisor']}): `python3 run.py status --home" in again.stderr
    assert len(again.stderr.splitlines()) == 1

    joined = mpac("up", "--detach", *SERVERS, home=home)
    assert (joined.returncode, joined.stderr) == (0, "")
    first, *rest = joined.stdout.splitlines()
    assert first == f"A stack is already running in {home} (pid {pids['supervisor']})."
    assert rest == up.stdout.splitlines(), "the same summary"

    otherwise = mpac("up", "--detach", "--only", "valkey", "--only", "sandbox", "--ports", "9000", home=home)
    assert otherwise.returncode == 0
    assert (
        "It was started with other options: without sandbox; also with postgres; postgres on port" in otherwise.stdout
    )
    assert mpac("up", "--detach", "--ports", "x", home=home).returncode == 2
    assert pids_in(home) == pids

    assert mpac("down", home=home).stdout == "Stopped. The data is still there; `reset` deletes it.\n"
    await until(lambda: not any(is_alive(pid) for pid in pids.values()))
    assert not Home(home).run_file.exists()
    assert mpac("down", home=home).returncode == 0


async def test_two_concurrent_starts_succeed_with_one_stack(home: Path) -> None:
    first, second = await asyncio.gather(
        *(asyncio.to_thread(mpac, "up", "--detach", *SERVERS, home=home) for _ in range(2))
    )
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert sorted("already" in done.stdout for done in (first, second)) == [False, True]
    assert all(is_alive(pid) for pid in pids_in(home).values())


async def test_up_waits_for_a_stopping_stack_and_starts_a_new_one(home: Path) -> None:
    assert mpac("up", "--detach", *SERVERS, home=home).returncode == 0
    pids = pids_in(home)
    os.kill(pids["valkey"], signal.SIGSTOP)
    os.kill(pids["supervisor"], signal.SIGTERM)
    await until(lambda: bool((read_run(Home(home)) or {"stopping": True}).get("stopping")))
    status = mpac("status", home=home)
    assert status.returncode == 1
    again = mpac("up", "--detach", *SERVERS, home=home)
    assert again.returncode == 0, again.stderr
    assert "already" not in again.stdout
    assert pids_in(home)["supervisor"] != pids["supervisor"]


async def test_up_detach_waits_for_a_stack_that_is_starting_in_the_foreground(home: Path) -> None:
    words = [sys.executable, "-m", "mpac", "up", *SERVERS, "--home", str(home)]
    up = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=subprocess.DEVNULL)
    await until(lambda: "valkey" in (read_run(Home(home)) or {"pids": {}})["pids"], within=HANGS_AFTER_SECONDS)
    joined = await asyncio.to_thread(mpac, "up", "--detach", *SERVERS, home=home)
    assert joined.returncode == 0, joined.stderr
    assert f"is already running in {home} (pid {up.pid})" in joined.stdout
    assert json.loads(Home(home).run_file.read_text())["complete"]
    up.send_signal(signal.SIGINT)
    assert await up.wait() == 0


async def test_a_mistyped_home_is_corrected(home: Path) -> None:
    open_home(home)
    for words in (["status"], ["down"], ["logs"], ["token", "--role", "staff"]):
        done = mpac(*words, home=home.with_name("sttae"))
        assert f"Did you mean `--home {home}`?" in done.stdout + done.stderr, words


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"pids": 1}', b""])
async def test_an_invalid_run_file_causes_no_traceback(content: bytes, home: Path) -> None:
    folder = open_home(home)
    folder.run_file.write_bytes(content)
    for words in (["status"], ["down"], ["status", "--json"], ["token", "--role", "staff"]):
        assert "Traceback" not in mpac(*words, home=home).stderr
    with exclusive_lock(folder):
        status = mpac("status", home=home)
        assert status.returncode == 1
        assert status.stdout.startswith(f"A stack runs in {home}, but its run.json is missing or damaged: ")
        assert "already runs" in mpac("up", *SERVERS, home=home).stderr


async def test_kill_9_of_the_supervisor_ends_all_processes_and_the_next_up_works(home: Path) -> None:
    assert mpac("up", "--detach", *SERVERS, home=home).returncode == 0
    pids = pids_in(home)
    os.kill(pids["supervisor"], signal.SIGKILL)
    next_one = mpac("up", "--detach", *SERVERS, home=home)  # at once, while the database is still stopping
    assert next_one.returncode == 0, next_one.stderr
    assert not any(is_alive(pid) for pid in pids.values())


async def test_a_manually_killed_process_is_restarted_and_run_json_is_updated(home: Path) -> None:
    assert mpac("up", "--detach", *SERVERS, home=home).returncode == 0
    before = pids_in(home)["valkey"]
    os.kill(before, signal.SIGKILL)
    await until(lambda: pids_in(home).get("valkey", before) != before)
    assert is_alive(pids_in(home)["valkey"])
    status = mpac("status", home=home)
    assert status.returncode == 0, status.stdout
    assert "valkey" in status.stdout


async def test_reset_stops_the_stack_and_deletes_its_data(home: Path) -> None:
    assert mpac("up", "--detach", *SERVERS, home=home).returncode == 0
    pids = pids_in(home)
    assert mpac("reset", home=home).returncode != 0  # nobody can answer its question
    assert is_alive(pids["postgres"])
    assert mpac("reset", "--yes", home=home).returncode == 0
    await until(lambda: not any(is_alive(pid) for pid in pids.values()))
    assert set(os.listdir(home)) <= {"mpac-home", "lock"}


async def test_a_failed_detached_start_reports_the_reason_and_leaves_no_process(home: Path) -> None:
    assert mpac("up", "--detach", *SERVERS, home=home).returncode == 0
    taken = json.loads(Home(home).run_file.read_text())["broker_url"].rsplit(":", 1)[1].removesuffix("/0")
    other = home.with_name("other")
    failed = mpac("up", "--detach", "--only", "valkey", "--ports", str(int(taken) - 4), home=other)
    assert failed.returncode == 1
    assert f"Port {taken} for valkey is taken" in failed.stderr
    assert mpac("status", home=other).returncode == 1


async def test_a_demonstrations_database_keeps_its_clock_reports_it_and_is_reset(home: Path) -> None:
    words = ("up", *SERVERS, "--only", "migrate", "--movable-clock", "--detach")
    first = mpac(*words, home=home)
    assert "ahead" not in first.stdout
    with psycopg.connect(json.loads(Home(home).run_file.read_text())["database_url"], autocommit=True) as connection:
        connection.execute(MOVE, [86_400, 86_400])
    mpac("down", home=home)
    assert "Its clock is 1 day ahead of this machine's" in mpac(*words, home=home).stdout
    assert "Its clock is 1 day ahead" in mpac("status", home=home).stdout
    (private_folder(Home(home).reports) / "shibuya.html").write_text("a report")
    mpac("reset", "--yes", home=home)
    assert set(os.listdir(home)) <= {"mpac-home", "lock"}

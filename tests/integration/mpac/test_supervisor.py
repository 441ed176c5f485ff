"""The supervisor starts, watches, restarts and stops processes; the processes here do nothing."""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mpac.cli.errors import UserError
from mpac.stack.process_output import FileOutput
from mpac.stack.service_process import ServiceProcess
from mpac.stack.state_folder import open_home
from mpac.stack.supervisor import Supervisor
from tests.integration.mpac.stack_harness import idle_process, is_alive, python
from tests.polling import until

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def running(tmp_path: Path, *, restart: bool) -> AsyncIterator[Supervisor]:
    made = Supervisor(FileOutput(open_home(tmp_path / "state")), restart=restart, changed=lambda: None)
    yield made
    for name in made.names:
        await made.stop(name)
    assert made.pids == {}


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with running(tmp_path, restart=True) as made:
        yield made


@pytest.fixture
async def unsupervised(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with running(tmp_path, restart=False) as made:
        yield made


async def test_a_process_that_fails_at_its_start_is_reported_with_its_last_line(supervisor: Supervisor) -> None:
    supervisor.start(
        ServiceProcess(name="bad", command=python("bad", "raise SystemExit('no such thing')").command, ready=_never)
    )
    with pytest.raises(UserError, match="bad ended before it was ready; its last line: no such thing"):
        await supervisor.wait_ready("bad")


async def test_a_process_that_never_becomes_ready_is_reported_after_its_timeout(supervisor: Supervisor) -> None:
    supervisor.start(ServiceProcess(name="slow", command=idle_process("slow").command, ready=_never))
    with pytest.raises(UserError, match=r"slow was not ready within 0\.1 seconds"):
        await supervisor.wait_ready("slow", timeout_seconds=0.1)


async def test_a_missing_program_is_reported_in_a_sentence(supervisor: Supervisor) -> None:
    supervisor.start(ServiceProcess(name="none", command=("/nowhere/none",), ready=_never))
    with pytest.raises(UserError, match="/nowhere/none can't be started: No such file"):
        await supervisor.wait_ready("none")


async def test_a_one_time_process_is_ready_when_it_has_exited_with_0(supervisor: Supervisor) -> None:
    supervisor.start(ServiceProcess(name="good", command=python("good", "pass").command, runs_once=True))
    supervisor.start(ServiceProcess(name="bad", command=python("bad", "raise SystemExit(3)").command, runs_once=True))
    await supervisor.wait_ready("good")
    with pytest.raises(UserError, match="bad ended before it was ready"):
        await supervisor.wait_ready("bad")


async def test_a_process_that_dies_repeatedly_is_restarted_each_time(supervisor: Supervisor) -> None:
    supervisor.start(idle_process("worker"))
    seen = set()
    for _ in range(3):
        await supervisor.wait_ready("worker")
        seen.add(supervisor.pids["worker"])
        supervisor.kill("worker", signal.SIGKILL)
    await supervisor.wait_ready("worker")
    assert len(seen | {supervisor.pids["worker"]}) == 4


async def test_a_process_can_be_started_again_right_after_it_was_killed(unsupervised: Supervisor) -> None:
    unsupervised.start(idle_process("worker"))
    await unsupervised.wait_ready("worker")
    before = unsupervised.pids["worker"]
    unsupervised.kill("worker", signal.SIGKILL)
    assert unsupervised.pids == {}  # it may not be reaped yet, but it is no longer listed
    await unsupervised.start_again("worker")
    await unsupervised.wait_ready("worker")
    assert unsupervised.pids["worker"] != before
    with pytest.raises(UserError, match="worker is already running"):
        await unsupervised.start_again("worker")


async def test_a_process_killed_during_its_readiness_check_is_not_ready(unsupervised: Supervisor) -> None:
    seen: list[list[str]] = []
    unsupervised._changed = lambda: seen.append(unsupervised.ready_names)

    async def killed_meanwhile(_pid: int) -> bool:
        unsupervised.kill("worker", signal.SIGKILL)
        return True

    unsupervised.start(ServiceProcess(name="worker", command=idle_process("worker").command, ready=killed_meanwhile))
    with pytest.raises(UserError, match="worker ended before it was ready"):
        await unsupervised.wait_ready("worker")
    assert seen
    assert "worker" not in {name for names in seen for name in names}


async def test_a_stopped_process_is_not_restarted(supervisor: Supervisor) -> None:
    supervisor.start(idle_process("worker"))
    await supervisor.wait_ready("worker")
    await supervisor.stop("worker")
    await supervisor.stop("worker")
    assert supervisor.pids == {}
    with pytest.raises(UserError, match="worker is not running"):
        supervisor.kill("worker", signal.SIGKILL)


async def test_a_process_that_ignores_sigterm_or_is_frozen_is_killed(supervisor: Supervisor) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    supervisor.start(ServiceProcess(name="deaf", command=python("deaf", deaf).command, grace_seconds=0.1))
    supervisor.start(idle_process("frozen"))
    await until(lambda: supervisor.output.last_lines("deaf") == ["deaf"])
    await supervisor.wait_ready("frozen")
    supervisor.kill("frozen", signal.SIGSTOP)
    pids = supervisor.pids
    for name in pids:
        await supervisor.stop(name)
    assert not any(is_alive(pid) for pid in pids.values())


async def test_a_duplicate_or_unknown_process_name_is_refused(supervisor: Supervisor) -> None:
    supervisor.start(idle_process("worker"))
    with pytest.raises(UserError, match="worker is already running"):
        supervisor.start(idle_process("worker"))
    with pytest.raises(UserError, match="wroker is not a process of this stack: choose from worker"):
        supervisor.kill("wroker", signal.SIGKILL)


async def test_child_processes_get_only_intended_mpac_variables(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPAC_STRAY", "1")
    code = "import os; print(sorted(name for name in os.environ if name.startswith('MPAC_')), flush=True)"
    command = (sys.executable, "-I", "-S", "-c", code)
    supervisor.start(ServiceProcess(name="child", command=command, environment={"MPAC_OURS": "1"}, runs_once=True))
    await supervisor.wait_ready("child")
    assert supervisor.output.last_lines("child") == ["['MPAC_OURS']"]


async def _never(pid: int) -> bool:
    return pid < 0

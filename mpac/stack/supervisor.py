"""Start processes, wait until they are ready, restart them when they die, and stop them.

The supervisor does not know what the processes are. A process that ends before it was ever ready is a failure, reported with
its last lines. One that ends later is restarted after a growing pause, unless ``stop`` was called or the owner turned that
off (``restart=False``, for tests of what happens then).
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mpac.cli.errors import UserError
from mpac.stack.log_lines import last_message
from mpac.stack.process_output import Output
from mpac.stack.root_cause import first_cause
from mpac.stack.service_process import ServiceProcess

POLL_SECONDS = 0.02
WATCHER_WITHIN_SECONDS = 2.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
DEADLY = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
STEADY_AFTER_SECONDS = 10.0  # if a process ran this long, the pauses begin again with the first
RESTARTED = "will be restarted"  # in the message about a process that ended unexpectedly; tests search for it


@dataclass(slots=True)
class RunningProcess:
    """The specification of a process, and the process itself while it runs."""

    spec: ServiceProcess
    process: asyncio.subprocess.Process | None = None
    ready: bool = False
    was_ready: bool = False
    dying: bool = False  # killed by kill(); it has a pid until it is reaped, but can't be relied on
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    runner: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.returncode is None else None

    @property
    def given_up(self) -> bool:
        return self.runner is None or self.runner.done()


class Supervisor:
    """Keep a set of processes running; ``changed`` is called whenever a process starts, becomes ready or ends."""

    def __init__(self, output: Output, *, restart: bool, changed: Callable[[], None]) -> None:
        self.output = output
        self._restart = restart
        self._changed = changed
        self._running: dict[str, RunningProcess] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The running processes in the order of starting."""
        return {name: running.pid for name, running in self._running.items() if running.pid and not running.dying}

    @property
    def names(self) -> list[str]:
        """Every process that was ever started, running or not."""
        return list(self._running)

    @property
    def ready_names(self) -> list[str]:
        """The processes that can be used now."""
        return [name for name, running in self._running.items() if running.ready]

    def spec(self, name: str) -> ServiceProcess:
        """Return the description of the process with this name."""
        return self._get(name).spec

    def start(self, spec: ServiceProcess) -> None:
        """Start the process and return at once; ``wait_ready`` waits until it can be used."""
        known = self._running.get(spec.name)
        if known and not known.given_up:
            raise UserError(f"{spec.name} is already running.")
        self._running[spec.name] = running = RunningProcess(spec)
        running.runner = asyncio.create_task(self._run_until_stopped(running), name=f"keep {spec.name}")

    async def start_again(self, name: str) -> None:
        """Start a process that was stopped or has died; if it was killed just now, wait for its end first."""
        running = self._get(name)
        if running.dying and running.runner and not self._restart:
            await asyncio.wait({running.runner}, timeout=running.spec.grace_seconds)
        self.start(running.spec)

    async def wait_ready(self, name: str, *, timeout_seconds: float | None = None) -> None:
        """Wait until the process is ready.

        Raises ``UserError`` with the last line of the process if it ends or takes too long.
        """
        running = self._get(name)
        limit = timeout_seconds or running.spec.ready_within_seconds
        deadline = time.monotonic() + limit
        while not running.ready:
            if running.given_up:
                raise UserError(f"{name} ended before it was ready{self._cause_text(name)}")
            if time.monotonic() > deadline:
                raise UserError(f"{name} was not ready within {limit:g} seconds{self._cause_text(name)}")
            await asyncio.sleep(POLL_SECONDS)

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process. The restart policy decides what follows."""
        pid = self._get(name).pid
        if pid is None:
            raise UserError(f"{name} is not running.")
        running = self._running[name]
        assert running.process  # noqa: S101 - it has a pid
        running.process.send_signal(number)
        if number in DEADLY:
            running.dying = True
            running.ready = False  # so that wait_ready() after a kill waits for the next process
            self._changed()

    async def stop(self, name: str) -> None:
        """Send the stop signal, wait for the grace period, then kill the process.

        Does nothing if the process is not running.
        """
        running = self._get(name)
        running.stopping.set()
        if running.runner is None:
            return
        _terminate(running)
        done, _ = await asyncio.wait({running.runner}, timeout=running.spec.grace_seconds)
        if not done:
            self.output.say(name, "did not stop in time and was killed.")
            if running.process and running.pid:
                running.process.kill()
        await running.runner

    async def _run_until_stopped(self, running: RunningProcess) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not running.stopping.is_set():
            started = time.monotonic()
            try:
                said = _exit_text(await self._run_once(running))
            except OSError as error:  # no process could be created: memory, descriptors or disk are used up
                said = f"it could not be started: {error.strerror}"
                self.output.say(running.spec.name, f"{said}.", level="ERROR")
            if running.stopping.is_set() or not (self._restart and running.was_ready):
                return
            if time.monotonic() - started > STEADY_AFTER_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self.output.say(running.spec.name, f"ended ({said}) and {RESTARTED} in {pause:g} s.")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(running.stopping.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run_once(self, running: RunningProcess) -> int:
        spec = running.spec
        with self.output.handle(spec.name) as handle:
            running.process = process = await asyncio.create_subprocess_exec(
                *spec.command_line(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=handle,
                stderr=asyncio.subprocess.STDOUT,
                env=spec.variables(),
                cwd=spec.folder,
                start_new_session=True,  # Ctrl-C at the terminal reaches the supervisor alone
            )
        running.dying = False
        self._changed()
        if running.stopping.is_set():  # stop() was called while the process was being made
            _terminate(running)
        watcher = asyncio.create_task(self._watch(running, process))
        try:
            code = await process.wait()
        finally:
            watcher.cancel()
            await asyncio.wait({watcher}, timeout=WATCHER_WITHIN_SECONDS)
            running.ready = False
        running.ready = spec.runs_once and code == 0
        self._changed()
        return code

    async def _watch(self, running: RunningProcess, process: asyncio.subprocess.Process) -> None:
        if running.spec.runs_once:
            return
        while not await _is_ready(running.spec, process.pid):  # noqa: ASYNC110 - another process has no Event
            await asyncio.sleep(POLL_SECONDS)
        if not running.dying:  # it may have been killed during the probe
            running.ready = running.was_ready = True
            self._changed()

    def _get(self, name: str) -> RunningProcess:
        try:
            return self._running[name]
        except KeyError:
            raise UserError(f"{name} is not a process of this stack: choose from {', '.join(self._running)}.") from None

    def _cause_text(self, name: str) -> str:
        lines = [line for line in self.output.last_lines(name) if line.strip()]
        cause = first_cause(lines)
        said = last_message([cause]) if lines else ""
        label = "its last line" if lines and cause == lines[-1].strip() else "it printed"
        return f"; {label}: {said}" if said else ", and it printed nothing."


async def _is_ready(spec: ServiceProcess, pid: int) -> bool:
    try:
        return await spec.ready(pid)
    except Exception:
        # Another process on the port may answer anything. An error would end the watch, and the process would stay "starting".
        return False


def _terminate(running: RunningProcess) -> None:
    if running.process and running.pid:
        with contextlib.suppress(ProcessLookupError):  # it may have ended and not be reaped yet
            running.process.send_signal(running.spec.stop_signal)
            running.process.send_signal(signal.SIGCONT)  # a process that a test has stopped (SIGSTOP) could not react


def _exit_text(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"

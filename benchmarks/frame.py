"""The frame of the benchmarks: rows that are run by name, and what happens around each of them.

A row is one module of ``benchmarks.rows``: a plan, a quick plan, a function that measures, and a table of goals. The frame
starts its servers, shows progress, runs the product's auditors at the end, and refuses its figures if they find something.
"""

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar

from benchmarks.audit import audit
from benchmarks.cpu_time import CLIENT, CpuMeter, cpu_seconds_between
from benchmarks.generator import generate
from benchmarks.goals import Figures, Goal
from benchmarks.load import Job
from benchmarks.measure import GENERATOR, stamp
from mpac.stack.local_stack import LocalStack
from mpac.stack.services import ALL_SERVICES

REFRESHES_PER_SECOND = 2  # of the progress line, which costs CPU time on the measured machine


class _TimeBar(ProgressColumn):
    """A bar that fills with time, for a step of known duration."""

    def render(self, task: Task) -> ProgressBar:
        elapsed = task.elapsed or 0.0
        return ProgressBar(total=task.total, completed=min(elapsed, task.total or elapsed), width=30)


class Run:
    """One run of one row: its servers, its progress, and how busy the machine was with other work."""

    def __init__(self, name: str, console: Console, *, only: Collection[str] = ()) -> None:
        self.name = name
        self.console = console
        self.only = only  # the targets to measure; all if empty
        self.stamp = stamp()
        self.audits: list[Figures] = []
        self.share_of_others: list[float] = []
        self.share_of_client: list[float] = []

    @asynccontextmanager
    async def stack(
        self, *, services: Collection[str] = ALL_SERVICES, env: dict[str, str] | None = None, is_audited: bool = True
    ) -> AsyncIterator[LocalStack]:
        """Start durable servers in a temporary folder; on leaving, audit the database unless told otherwise."""
        with tempfile.TemporaryDirectory(prefix="mpac-bench-", ignore_cleanup_errors=True) as folder:
            with self.step("starting the servers"):
                stack = LocalStack(Path(folder) / "home", services=services, env=env, restart=False, durable=True)
                await stack.__aenter__()
            try:
                yield stack
                if is_audited:
                    with self.step("auditing the database"):
                        self.audits.append(await audit(stack))
            finally:
                await stack.__aexit__(None, None, None)

    @contextmanager
    def step(self, what: str, *, seconds: float | None = None) -> Iterator[None]:
        """Show a step while it runs, with a bar if its duration is known; then leave one line with its time."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), _TimeBar(), TimeElapsedColumn())
        started = time.monotonic()
        if not self.console.is_terminal:
            yield
        else:
            with Progress(
                *columns, console=self.console, transient=True, refresh_per_second=REFRESHES_PER_SECOND
            ) as progress:
                progress.add_task(f"{self.name}: {what}", total=seconds)
                yield
        self.console.print(f"{self.name}: {what}, {time.monotonic() - started:.0f} s", style="dim", highlight=False)

    async def generate(
        self, module: str, job: dict[str, Any], what: str, *, seconds: float | None = None
    ) -> dict[str, Any]:
        """Run a load generator as one step, and note how busy it and other processes were."""
        seconds = seconds or job.get("warm_up", 0.0) + job.get("seconds", 0.0)
        with self.step(what, seconds=seconds or None):
            found = await generate(module, job)
        self._note(found["processor"], found["seconds"])
        return found

    @contextmanager
    def watch(self, pids: Mapping[str, int]) -> Iterator[None]:
        """Note how busy other processes were during a measurement that this process makes itself."""
        meter = CpuMeter(pids)
        before = meter.read()
        yield
        after = meter.read()
        self._note(cpu_seconds_between(before, after), after.at - before.at)

    def _note(self, spent: Mapping[str, float], seconds: float) -> None:
        self.share_of_others.append(spent["others"] / (seconds or 1.0))
        self.share_of_client.append(spent[CLIENT] / (seconds or 1.0))

    async def load(self, job: Job, what: str) -> dict[str, Any]:
        """Run the load generator for payments as one step."""
        return await self.generate(GENERATOR, asdict(job), what)


Measure = Callable[[Run, Any], Coroutine[Any, Any, Figures]]


def show_nothing(_figures: Figures, _console: Console) -> None:
    """Print nothing but the goals."""


@dataclass(frozen=True, slots=True)
class Row:
    """A benchmark that is run by its name.

    ``plan`` and ``quick`` are instances of the same dataclass, whose fields can be overridden on the command line.
    """

    name: str
    summary: str  # one line for the help
    plan: Any
    quick: Any
    measure: Measure
    goals: tuple[Goal, ...] = ()
    show: Callable[[Figures, Console], None] = field(default=show_nothing)

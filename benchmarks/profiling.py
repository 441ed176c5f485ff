"""``--profile``: show the CPU time of the API and of a payment worker by function."""

import asyncio
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import figures_of, job_for, load, prepare, stamp
from benchmarks.plan import Plan
from benchmarks.proof import Sandbox
from benchmarks.targets import Product
from mpac.cli.errors import UserError
from mpac.stack.local_stack import LocalStack

HOOK = Path(__file__).with_name("sampler")
PROFILED = ("api", "worker-payments-1")
WRITTEN_AFTER_SECONDS = 2.0
SHOWN = 40


async def profile(plan: Plan, console: Console) -> None:
    """Load the product in a closed loop, sample its processes, and print where their CPU time went."""
    with tempfile.TemporaryDirectory(prefix="mpac-bench-", ignore_cleanup_errors=True) as path:
        folder = Path(path)
        os.environ["BENCH_PROFILE_FOLDER"] = path
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH"))))
        async with LocalStack(folder / "home", restart=False, durable=True) as stack:
            product = Product(stack)
            await prepare(product, sandbox=Sandbox(stack.urls.sandbox, stack.control_key), latency_ms=plan.latency_ms)
            pids = {name: stack.pids[name] for name in PROFILED}
            job = await job_for(product, "closed", plan=plan, run=stamp())
            loading = asyncio.create_task(load(job))
            await asyncio.sleep(plan.warm_up)
            (folder / "go").touch()
            await asyncio.sleep(plan.closed)
            (folder / "go").unlink()
            figures = figures_of(await loading)
            await asyncio.sleep(WRITTEN_AFTER_SECONDS)
            console.print(
                f"Under the profiler: {figures['per_second']:,.0f} payments/s, "
                f"{figures['processor_ms']['all of its own']:.2f} ms of CPU time each."
            )
            for process, pid in pids.items():
                show(process, _read_profile(folder / f"{pid}.json"), console)


def _read_profile(file: Path) -> Counter[str]:
    if not file.exists():
        raise UserError("A process wrote no profile: was it started with an isolated Python?")
    return Counter(json.loads(file.read_text()))


def shares(spent: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """Return two counters of CPU time by function: with the functions that it called, and without."""
    cumulative: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for stack, nanoseconds in spent.items():
        frames = stack.split(";")
        alone[frames[-1]] += nanoseconds
        for frame in set(frames):
            cumulative[frame] += nanoseconds
    return cumulative, alone


def show(name: str, spent: Counter[str], console: Console) -> None:
    """Print the packages and functions with the most CPU time, with and without what they called."""
    whole = spent.total() or 1
    cumulative, alone = shares(spent)
    tables = {"whose code runs": by_package(alone), "with all it calls": cumulative, "alone": alone}
    for title, counted in tables.items():
        table = Table(f"{name}: share of its CPU time, {title}", "%", box=None)
        for place, nanoseconds in counted.most_common(SHOWN):
            table.add_row(place, f"{100 * nanoseconds / whole:.1f}")
        console.print(table)


def by_package(alone: Counter[str]) -> Counter[str]:
    """Return the CPU time by package or top module. Time in a C function counts as its caller's."""
    packages: Counter[str] = Counter()
    for function, nanoseconds in alone.items():
        place = function.rpartition("(")[2].rstrip(")")
        packages[place.partition("/")[0].removesuffix(".py")] += nanoseconds
    return packages

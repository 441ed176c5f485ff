"""``tills``: 5,000 terminals that wait at one API process: how late they hear of a change, and what memory they take.

Only the API and its servers run, so no payment moves until it is cancelled. Half of the terminals hear of a change while the
others keep waiting; ``benchmarks.tills_load`` says how it is measured.
"""

from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from rich.console import Console

from benchmarks.frame import Row, Run
from benchmarks.generator import percentiles
from benchmarks.goals import Figures, Goal
from benchmarks.seed import create_devices, request_tokens
from benchmarks.tills_load import TillsJob

GENERATOR = "benchmarks.tills_load"
SERVICES = ("postgres", "valkey", "sandbox", "api")
DEVICES = 16
LONG_TOKENS = {"MPAC_DEVICE_TOKEN_SECONDS": "3600"}  # on a busy machine the terminals arrive for minutes


@dataclass(frozen=True, slots=True)
class TillsPlan:
    """The number of terminals, and how many of their payments change how fast."""

    tills: int = 5_000
    arrivals_per_second: float = 250.0
    changes: int = 2_500
    changes_per_second: float = 100.0
    warm_up_payments: int = 200


QUICK = TillsPlan(tills=100, arrivals_per_second=100.0, changes=50, changes_per_second=50.0, warm_up_payments=20)


async def measure(run: Run, plan: TillsPlan) -> Figures:
    """Let the terminals wait, change payments, and return how late that was heard."""
    async with run.stack(services=SERVICES, env=LONG_TOKENS) as stack:
        devices = await create_devices(stack, DEVICES, stores=1)
        address = urlsplit(stack.urls.api)
        job = TillsJob(
            host=str(address.hostname),
            port=address.port or 80,
            tokens=await request_tokens(stack.urls.api, devices),
            pids={name: stack.pids[name] for name in SERVICES},
            run=run.stamp,
            **asdict(plan),
        )
        seconds = plan.tills / plan.arrivals_per_second + plan.changes / plan.changes_per_second
        found = await run.generate(GENERATOR, asdict(job), f"{plan.tills:,} terminals", seconds=seconds)
    return {
        "heard_ms": percentiles(found["heard_ms"]),
        "heard": len(found["heard_ms"]),
        "unheard": found["unheard"],
        "answers": found["answers"],
        "errors": found["errors"],
        "refused": found["answers"].get("503", 0) + sum(found["errors"].values()),
        "memory_before_mb": found["memory_before_mb"],
        "memory_with_mb": found["memory_with_mb"],
        "memory_grew_mb": found["memory_with_mb"] - found["memory_before_mb"],
        "api_cpus": found["processor"]["api"] / found["seconds"],
    }


def show(figures: Figures, console: Console) -> None:
    """Print latencies, memory and refusals."""
    times = figures["heard_ms"]
    console.print(
        f"{figures['heard']:,} changes heard after P50 {times['p50']:,.0f} ms, P95 {times['p95']:,.0f}, "
        f"P99 {times['p99']:,.0f}; {figures['unheard']} not heard; answers {figures['answers']}, errors {figures['errors']}; "
        f"the API's memory {figures['memory_before_mb']:,.0f} MB before and {figures['memory_with_mb']:,.0f} MB with them; "
        f"it used {figures['api_cpus']:.2f} CPUs",
        highlight=False,
    )


ROW = Row(
    name="tills",
    summary="5,000 terminals that wait at one API process: how late a change is heard, and memory",
    plan=TillsPlan(),
    quick=QUICK,
    measure=measure,
    show=show,
    goals=(
        Goal("a change is heard, P99", ("heard_ms", "p99"), 150, "ms"),
        Goal("memory of the API with the terminals, growth", ("memory_grew_mb",), 60, "MB"),
        Goal("changes not heard", ("unheard",), 0),
        Goal("answers of 503 and broken connections", ("refused",), 0),
    ),
)

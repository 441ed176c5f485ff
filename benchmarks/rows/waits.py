"""``waits``: terminals that post and then wait for the outcome, as real ones do, compared with terminals that do not wait.

Both loads are closed loops with the same number of terminals. A waiting terminal learns the outcome from the API, by
``GET /payments/{id}?wait=25``, and another one by the load generator, which polls the database. The ratio is what
waiting costs. Every answer other than 200 and 201 is counted.
"""

import statistics
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Goal
from benchmarks.measure import BUSY_PAUSE_SECONDS, figures_of, job_of, prepare
from benchmarks.proof import Sandbox, verify
from benchmarks.targets import Product

KINDS = {"without waiting": "closed", "waiting": "waiting"}
REFUSED = "503"


@dataclass(frozen=True, slots=True)
class WaitsPlan:
    """The number of terminals and the duration of each load."""

    rounds: int = 3
    in_flight: int = 512
    warm_up: float = 4.0
    seconds: float = 12.0
    latency_ms: int = 50


QUICK = WaitsPlan(rounds=1, in_flight=32, warm_up=0.5, seconds=1.5)


async def measure(run: Run, plan: WaitsPlan) -> Figures:
    """Measure both kinds in interleaved rounds; return the medians, their ratio and the refused answers."""
    rounds: dict[str, list[Figures]] = {name: [] for name in KINDS}
    async with run.stack() as stack:
        product, sandbox = Product(stack), Sandbox(stack.urls.sandbox, stack.control_key)
        for number in range(plan.rounds):
            for name, kind in KINDS.items():
                await prepare(product, sandbox=sandbox, latency_ms=plan.latency_ms)
                job = await job_of(
                    product,
                    kind=kind,
                    run=f"{run.stamp}-{number}-{kind}",
                    warm_up=plan.warm_up,
                    seconds=plan.seconds,
                    in_flight=plan.in_flight,
                    rate=0.0,
                    pause_seconds=BUSY_PAUSE_SECONDS,
                )
                rounds[name].append(figures_of(await run.load(job, f"{name}, round {number + 1}")))
        proof = await verify("product", database_url=product.database_url, sandbox=sandbox, run=run.stamp)
    rates = {name: statistics.median(figures["per_second"] for figures in found) for name, found in rounds.items()}
    return {
        "per_second": rates,
        "ratio": rates["waiting"] / (rates["without waiting"] or 1.0),
        "refused": sum(figures["answers"].get(REFUSED, 0) for figures in rounds["waiting"]),
        "proof": proof,
        "rounds": rounds,
    }


def show(figures: Figures, console: Console) -> None:
    """Print both kinds beside each other."""
    table = Table("", "payments/s", "CPU ms each", "sandbox", "answers", "errors", "client's CPUs", box=None)
    for name, rounds in figures["rounds"].items():
        last = rounds[-1]
        spent = last["processor_ms"]
        table.add_row(
            name,
            f"{figures['per_second'][name]:,.0f}",
            f"{spent['without the sandbox']:.2f}",
            f"{spent['sandbox']:.2f}",
            ", ".join(f"{count:,} x {status}" for status, count in last["answers"].items()),
            ", ".join(f"{count:,} x {error}" for error, count in last["errors"].items()) or "none",
            f"{last['share of client']:.2f}",
        )
    console.print(table)


ROW = Row(
    name="waits",
    summary="512 terminals that post and then wait for the outcome, beside those that do not wait",
    plan=WaitsPlan(),
    quick=QUICK,
    measure=measure,
    show=show,
    goals=(
        Goal("payments/s, waiting ÷ not waiting", ("ratio",), 0.8, "times", at_least=True),
        Goal("answers of 503", ("refused",), 0),
    ),
)

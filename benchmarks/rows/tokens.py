"""``tokens``: the terminals of a chain that opens: 10,000 device tokens in 30 s.

Each device requests one token with its own signed assertion, at a random moment of the 30 s, as independent terminals do; the
moments are the same in each run. A latency begins at its moment, whether or not the API could take the request then.
"""

import random
from dataclasses import dataclass

from rich.console import Console

from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Goal
from benchmarks.till_data import Tills, request_figures

DEVICES_PER_STORE = 20
SEED = 10  # of the moments


@dataclass(frozen=True, slots=True)
class TokensPlan:
    """The number of devices, and the seconds within which they request a token."""

    devices: int = 10_000
    seconds: float = 30.0


QUICK = TokensPlan(devices=100, seconds=1.0)


async def measure(run: Run, plan: TokensPlan) -> Figures:
    """Let every device request a token once."""
    moments = random.Random(SEED)
    arrivals = sorted(moments.uniform(0.0, plan.seconds) for _ in range(plan.devices))
    async with run.stack() as stack:
        stores = max(1, plan.devices // DEVICES_PER_STORE)
        tills = await Tills.create(run, stack, devices=plan.devices, stores=stores)
        with run.step("signing assertions"):
            requests = await tills.assertions(plan.devices)
        return request_figures(await tills.send(f"{plan.devices:,} tokens", {"token": requests}, arrivals=arrivals))


def show(figures: Figures, console: Console) -> None:
    """Print latencies, answers and CPU time."""
    times = figures["ms"]
    answers = ", ".join(f"{count:,} x {status}" for status, count in figures["answers"].items())
    console.print(
        f"{figures['count']:,} tokens in {figures['seconds']:.1f} s: P50 {times['p50']:,.0f} ms, P95 {times['p95']:,.0f}, "
        f"P99 {times['p99']:,.0f}; answers {answers}; {figures['processor_ms']['without the sandbox']:.2f} ms of CPU time each"
    )


ROW = Row(
    name="tokens",
    summary="10,000 device tokens in 30 s",
    plan=TokensPlan(),
    quick=QUICK,
    measure=measure,
    show=show,
    goals=(
        Goal("P95", ("ms", "p95"), 300, "ms"),
        Goal("P99", ("ms", "p99"), 600, "ms"),
        Goal("answers other than 200", ("not_successful",), 0),
    ),
)

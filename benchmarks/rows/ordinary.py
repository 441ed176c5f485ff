"""``ordinary``: open loops at the rates of real platforms, the product beside its rivals.

A payment is submitted when its time has come, whether or not earlier ones are final, and its latency begins at that time.
Times to final are from the arrival of the 201 until the final status was seen in the database, less the provider's own time.
A poll every 2 or 3 ms sees it, so they are too long by up to that and one query.

A rate that a target does not hold ends its series: at higher ones only its backlog would be measured.
"""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Goal, figure_at
from benchmarks.ledgers import Ledgers
from benchmarks.measure import figures_of, job_of, measure_target
from benchmarks.report import medians_of, spelled
from benchmarks.targets import Product, Target
from benchmarks.targets_by_name import TARGETS

HELD = 0.95
"""The share of the wanted rate that has to be completed within the window; the last payments are final only after it."""
PAUSE_SECONDS, FAST_PAUSE_SECONDS = 0.002, 0.003  # between two polls, up to and above ``FAST`` payments/s
FAST = 200.0


@dataclass(frozen=True, slots=True)
class OrdinaryPlan:
    """The rates (payments/s) and the duration at each."""

    rounds: int = 3
    rates: tuple[float, ...] = (10.0, 100.0, 500.0)
    seconds: tuple[float, ...] = (40.0, 20.0, 20.0)  # the P99 of fewer payments would be their maximum
    warm_up: float = 3.0
    latency_ms: int = 50  # of the sandbox provider


QUICK = OrdinaryPlan(rounds=1, rates=(10.0, 40.0), seconds=(1.0, 1.0), warm_up=0.3)


async def measure(run: Run, plan: OrdinaryPlan) -> Figures:
    """Measure every target at every rate; return the medians by target and rate, and the rounds."""
    names = list(run.only or TARGETS)
    rounds: dict[str, list[Figures]] = {name: [] for name in names}
    async with run.stack(is_audited=False) as stack:  # it is audited after each round of the product
        ledgers = Ledgers(stack)
        targets: dict[str, Target] = {name: TARGETS[name](stack) for name in names}
        await Product(stack).stop()
        for number in range(plan.rounds):
            for name, target in targets.items():
                mark = f"{run.stamp}-{number}-{name}"
                series = Series(run, target, plan=plan, label=f"{name}, round {number + 1}", mark=mark)
                figures = await measure_target(
                    target, series.measure, stack=stack, ledgers=ledgers, latency_ms=plan.latency_ms, run=mark
                )
                run.audits += [figures["audit"]] if "audit" in figures else []
                rounds[name].append(figures)
    medians = {name: medians_of([figures["rates"] for figures in found]) for name, found in rounds.items()}
    return {"medians": medians, "rounds": rounds}


class Series:
    """One target at one rate after the other."""

    def __init__(self, run: Run, target: Target, *, plan: OrdinaryPlan, label: str, mark: str) -> None:
        self._run, self._target, self._plan, self._label, self._mark = run, target, plan, label, mark

    async def measure(self) -> Figures:
        """Return the figures of each rate up to the first that is not held."""
        found: dict[str, Figures] = {}
        for rate, seconds in zip(self._plan.rates, self._plan.seconds, strict=True):
            job = await job_of(
                self._target,
                kind="open",
                run=f"{self._mark}-{rate:g}",
                warm_up=self._plan.warm_up,
                seconds=seconds,
                in_flight=0,
                rate=rate,
                pause_seconds=PAUSE_SECONDS if rate <= FAST else FAST_PAUSE_SECONDS,
            )
            figures = figures_of(await self._run.load(job, f"{self._label}, {rate:g}/s"))
            figures["after_provider_ms"] = {p: ms - self._plan.latency_ms for p, ms in figures["final_ms"].items()}
            figures["is_held"] = figures["per_second"] >= HELD * rate
            found[f"{rate:g}"] = figures
            if not figures["is_held"]:
                break
        return {"rates": found}


COLUMNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("completed/s", ("per_second",)),
    ("POST P50", ("post_ms", "p50")),
    ("P95", ("post_ms", "p95")),
    ("P99", ("post_ms", "p99")),
    ("final P50", ("after_provider_ms", "p50")),
    ("P99", ("after_provider_ms", "p99")),
    ("CPU", ("processor_ms", "without the sandbox")),
    ("sandbox", ("processor_ms", "sandbox")),
    ("client's CPUs", ("share of client",)),
    ("others' CPUs", ("share of others",)),
)


def show(figures: Figures, console: Console) -> None:
    """Print a line for each target and rate, and its CPU time by process."""
    table = Table("", *(name for name, _ in COLUMNS), title="medians; times in ms, CPU in ms per payment", box=None)
    for name, rates in figures["medians"].items():
        for rate, found in rates.items():
            values = [figure_at(found, path) for _, path in COLUMNS]
            table.add_row(f"{name}, {rate}/s", *("–" if value is None else f"{value:,.2f}" for value in values))
    console.print(table)
    for name, rates in figures["medians"].items():
        for rate, found in rates.items():
            console.print(f"{name}, {rate}/s, CPU ms per payment: {spelled(found['processor_ms']['by process'])}")


def _goals(rate: str, *, cpu: float | None, post: float | None, final: tuple[float, float]) -> tuple[Goal, ...]:
    at = ("medians", "product", rate)
    wanted = (
        ("own CPU per payment without the sandbox", ("processor_ms", "without the sandbox"), cpu),
        ("POST P99", ("post_ms", "p99"), post),
        ("final over the provider's time, P50", ("after_provider_ms", "p50"), final[0]),
        ("final over the provider's time, P99", ("after_provider_ms", "p99"), final[1]),
    )
    return tuple(
        Goal(f"{rate}/s: {what}", (*at, *path), limit, "ms") for what, path, limit in wanted if limit is not None
    )


ROW = Row(
    name="ordinary",
    summary="open loops at 10, 100 and 500 payments/s: latencies and CPU time, the product beside its rivals",
    plan=OrdinaryPlan(),
    quick=QUICK,
    measure=measure,
    show=show,
    goals=(
        *_goals("10", cpu=10, post=None, final=(12, 20)),
        *_goals("100", cpu=3, post=5, final=(9, 15)),
        *_goals("500", cpu=None, post=8, final=(15, 40)),
    ),
)

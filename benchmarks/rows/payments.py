"""``payments``: full load in a closed loop, the product beside its rivals, in interleaved rounds.

Each round also has a usual load (200 payments/s) and rest (5 payments/s). The rounds of all targets alternate, so that a
machine whose speed changes affects all of them alike; figures are medians.
"""

import time
from functools import partial

from rich.console import Console

from benchmarks import report
from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Goal
from benchmarks.ledgers import Ledgers
from benchmarks.measure import LOADS, figures_of, job_for, measure_target
from benchmarks.plan import QUICK, Plan
from benchmarks.targets import Product, Target
from benchmarks.targets_by_name import TARGETS


async def measure(run: Run, plan: Plan) -> Figures:
    """Measure every target in interleaved rounds; return the rounds and their summary."""
    names = list(run.only or TARGETS)
    found: report.Rounds = {name: [] for name in names}
    async with run.stack(is_audited=False) as stack:  # it is audited after each round of the product
        ledgers = Ledgers(stack)
        targets: dict[str, Target] = {name: TARGETS[name](stack) for name in names}
        await Product(stack).stop()
        for number in range(plan.rounds):
            for name, target in targets.items():
                started = time.monotonic()
                mark = f"{run.stamp}-{number}-{name}"
                loads = partial(_loads, run, target, plan=plan, number=number, mark=mark)
                figures = await measure_target(
                    target, loads, stack=stack, ledgers=ledgers, latency_ms=plan.latency_ms, run=mark
                )
                found[name].append(figures)
                run.audits += [figures["audit"]] if "audit" in figures else []
                run.console.print(report.line(number, name, figures, time.monotonic() - started))
    return {"summary": report.summary(found), "rounds": found}


async def _loads(run: Run, target: Target, *, plan: Plan, number: int, mark: str) -> Figures:
    found: Figures = {}
    for name in LOADS:
        job = await job_for(target, name, plan=plan, run=mark)
        found[name] = figures_of(await run.load(job, f"{target.name}, round {number + 1}, {name}"))
    return found


def show(figures: Figures, console: Console) -> None:
    """Print the medians of the rounds."""
    report.show(figures["rounds"], console)


ROW = Row(
    name="payments",
    summary="full load in a closed loop, 200/s and rest, the product beside its rivals",
    plan=Plan(),
    quick=QUICK,
    measure=measure,
    show=show,
    goals=(
        Goal("payments/s ÷ orm_celery", ("summary", report.RATE, "ratios", "orm_celery"), 20, "times", at_least=True),
        Goal("payments/s ÷ taskiq", ("summary", report.RATE, "ratios", "taskiq"), 3, "times", at_least=True),
        Goal("own CPU per payment without the sandbox", ("summary", report.OWN, "product"), 0.6, "ms"),
    ),
)

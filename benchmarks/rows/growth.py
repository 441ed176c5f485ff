"""``growth``: what a payment costs on larger and larger tables, and after an hour of steady load with autovacuum.

| step                     | what                                                                                          |
|--------------------------|-----------------------------------------------------------------------------------------------|
| each size                | the tables are filled with copies of real payments, then a closed loop measures the cost      |
| an hour at the last size | an open loop at 500 payments/s, measured minute by minute, while only autovacuum cleans up    |
| after it                 | the closed loop again                                                                         |

The ratio is the cost after the hour to that on the empty database. The copies are in our books but not in the ledger of the
stand-in provider, so the auditors check our books alone, and the payments of each load are compared with the ledger.
"""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.audit import audit
from benchmarks.clone_payments import Cloner
from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Goal, figure_at
from benchmarks.measure import BUSY_PAUSE_SECONDS, figures_of, job_of, prepare
from benchmarks.proof import Sandbox, verify
from benchmarks.targets import Product
from mpac.cli.errors import UserError

OWN = ("processor_ms", "without the sandbox")


@dataclass(frozen=True, slots=True)
class GrowthPlan:
    """The sizes, the closed loop at each, and the hour of steady load."""

    rows: tuple[int, ...] = (0, 1_000_000, 3_000_000, 10_000_000)
    templates: int = 2_000  # payments that are copied
    in_flight: int = 512
    warm_up: float = 4.0
    seconds: float = 15.0
    steady_seconds: float = 3_600.0
    steady_part: float = 60.0  # a device token is valid for two minutes
    steady_rate: float = 500.0
    latency_ms: int = 50


QUICK = GrowthPlan(
    rows=(0, 400),
    templates=20,
    in_flight=16,
    warm_up=0.3,
    seconds=1.0,
    steady_seconds=2.0,
    steady_part=1.0,
    steady_rate=20.0,
)


async def measure(run: Run, plan: GrowthPlan) -> Figures:
    """Measure the cost at each size, then during and after the steady load."""
    async with run.stack(is_audited=False) as stack:
        product, sandbox = Product(stack), Sandbox(stack.urls.sandbox, stack.control_key)
        await prepare(product, sandbox=sandbox, latency_ms=plan.latency_ms)
        loads = Loads(run, product, plan)
        sizes = [{"rows": 0, **await loads.closed("empty")}]
        cloner = Cloner(stack.urls.database, templates=plan.templates)
        if not cloner.payments:
            raise UserError("No payment was completed on the empty database, so there is none to copy.")
        for wanted in plan.rows[1:]:
            rows = _grow(run, cloner, wanted)
            sizes.append({"rows": rows, **await loads.closed(f"{rows:,} payments")})
        cloner.close()
        steady = [await loads.steady(number) for number in range(int(plan.steady_seconds / plan.steady_part))]
        after = await loads.closed("after the steady load")
        proof = await verify("product", database_url=product.database_url, sandbox=sandbox, run=run.stamp)
        with run.step("auditing our books"):
            run.audits.append(await audit(stack, env={"MPAC_SANDBOX_URL": ""}))
    ratio = figure_at(after, OWN) / (figure_at(sizes[0], OWN) or 1.0)
    return {"sizes": sizes, "steady": steady, "after": after, "ratio": ratio, "proof": proof}


def _grow(run: Run, cloner: Cloner, wanted: int) -> int:
    with run.step(f"filling up to {wanted:,} payments"):
        rows = cloner.grow_to(wanted)
        cloner.finish()
    return rows


class Loads:
    """The loads of the product on one database."""

    def __init__(self, run: Run, product: Product, plan: GrowthPlan) -> None:
        self._run, self._product, self._plan = run, product, plan
        self._jobs = 0

    async def closed(self, what: str) -> Figures:
        """Measure full load."""
        return await self._measure(
            f"closed loop, {what}",
            kind="closed",
            warm_up=self._plan.warm_up,
            seconds=self._plan.seconds,
            rate=0.0,
        )

    async def steady(self, number: int) -> Figures:
        """Measure one part of the steady load."""
        rate = self._plan.steady_rate
        return await self._measure(
            f"{rate:g}/s, part {number + 1}", kind="open", warm_up=0.0, seconds=self._plan.steady_part, rate=rate
        )

    async def _measure(self, what: str, **fields: Any) -> Figures:
        self._jobs += 1
        job = await job_of(
            self._product,
            run=f"{self._run.stamp}-{self._jobs}",
            in_flight=self._plan.in_flight,
            pause_seconds=BUSY_PAUSE_SECONDS,
            **fields,
        )
        return figures_of(await self._run.load(job, what))


def show(figures: Figures, console: Console) -> None:
    """Print a line for each size, and the first and the last part of the steady load."""
    table = Table(
        "", "payments/s", "CPU ms each", "sandbox", "postgres", "POST P99", "final P99", "others' CPUs", box=None
    )
    steady = figures["steady"]
    lines = {f"{each['rows']:,} rows": each for each in figures["sizes"]}
    lines |= {"steady, first part": steady[0], "steady, last part": steady[-1]} if steady else {}
    for what, found in {**lines, "full load after it": figures["after"]}.items():
        spent = found["processor_ms"]
        costs = (spent["without the sandbox"], spent["sandbox"], spent["by process"]["postgres"])
        times = (found["post_ms"].get("p99", 0.0), found["final_ms"].get("p99", 0.0))
        cells = [f"{cost:,.3f}" for cost in costs] + [f"{ms:,.1f}" for ms in times]
        table.add_row(what, f"{found['per_second']:,.0f}", *cells, f"{found['share of others']:.2f}")
    console.print(table)


ROW = Row(
    name="growth",
    summary="cost per payment on 0, 1, 3 and 10 million payments, and after an hour at 500/s with autovacuum",
    plan=GrowthPlan(),
    quick=QUICK,
    measure=measure,
    show=show,
    goals=(Goal("cost at the largest size after the steady load ÷ on an empty database", ("ratio",), 1.1, "times"),),
)

"""``storage``: what a payment writes: WAL, the bytes that stay, and the share of updates that touch no index.

``benchmarks.storage`` measures it in one process, without API, broker and worker, so the figures contain PostgreSQL alone.
"""

from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Goal
from benchmarks.storage import measure as measure_storage

SERVICES = ("postgres", "valkey", "migrate")  # the auditors count dead letters, which are in Valkey


@dataclass(frozen=True, slots=True)
class StoragePlan:
    """The number of payments of each of two runs, how many are processed together, and in how many stores."""

    payments: int = 20_000
    group: int = 50
    stores: int = 100


QUICK = StoragePlan(payments=200, group=20, stores=2)


async def measure(run: Run, plan: StoragePlan) -> Figures:
    """Process payments without and with full-page images, and return what PostgreSQL wrote."""
    async with run.stack(services=SERVICES) as stack:
        with run.step(f"{2 * plan.payments:,} payments"), run.watch({"postgres": stack.pids["postgres"]}):
            rows = await measure_storage(stack.urls.database, **asdict(plan))
    return {row.what.strip(): {"value": row.value, "unit": row.unit, "beside": row.beside} for row in rows}


def show(figures: Figures, console: Console) -> None:
    """Print a line for each figure."""
    table = Table("per payment", "measured", "", box=None)
    for what, each in figures.items():
        table.add_row(what, f"{each['value']:,.1f} {each['unit']}", each["beside"])
    console.print(table)


ROW = Row(
    name="storage",
    summary="WAL and the bytes that stay, per payment",
    plan=StoragePlan(),
    quick=QUICK,
    measure=measure,
    show=show,
    goals=(
        Goal("WAL without full-page images", ("WAL", "value"), 6_000, "B"),
        Goal("bytes that stay", ("stays", "value"), 3_500, "B"),
    ),
)

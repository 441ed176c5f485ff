"""Code shared by the benchmarks of large settlements: a database, memory use, and a table of figures with targets.

Neither beat nor a worker uses the database, so nothing is closed or reconciled before it is measured.
"""

import json
import os
import resource
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mpac.stack.local_stack import LocalStack

SERVICES = ("postgres", "migrate")


@asynccontextmanager
async def database_alone(address: str | None) -> AsyncIterator[str]:
    """Yield the URL of a durable PostgreSQL with the newest schema: ``address``, or a temporary one."""
    if address:
        yield address
        return
    with tempfile.TemporaryDirectory(prefix="mpac-bench-", ignore_cleanup_errors=True) as folder:
        async with LocalStack(Path(folder) / "home", services=SERVICES, restart=False, durable=True) as stack:
            yield stack.urls.database


def memory_mb() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table. ``beside`` are ratios to the yardsticks; ``limit`` is the target."""

    what: str
    value: float
    unit: str = "s"
    beside: str = ""
    limit: float | None = None

    @property
    def target_text(self) -> str:
        """Whether the target is met."""
        if self.limit is None:
            return ""
        return f"{'met' if self.value <= self.limit else 'NOT MET'} (at most {self.limit:g} {self.unit})"


def show(title: str, rows: list[Row], *, results: Path | None) -> None:
    """Print the table with the machine's load, and write the figures as JSON if requested."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name in ("what", "measured", "beside the yardsticks", "target"):
        table.add_column(name, justify="right" if name == "measured" else "left")
    for row in rows:
        table.add_row(row.what, f"{row.value:,.2f} {row.unit}", row.beside, row.target_text)
    console = Console(width=130)
    console.print(table)
    console.print(f"Load average {', '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores.")
    if results:
        results.write_text(json.dumps({row.what: row.value for row in rows}, indent=1) + "\n")

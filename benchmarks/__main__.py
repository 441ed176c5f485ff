"""``python3 run.py bench``: measure the rows of the benchmark (``benchmarks.rows``) that are named, or the usual one."""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import results
from benchmarks.frame import Row, Run
from benchmarks.orders import ORDERS_QUICK, OrdersPlan, compare_orders
from benchmarks.plan import QUICK, Plan
from benchmarks.plan_options import with_settings
from benchmarks.profiling import profile
from benchmarks.table_of_rows import ROWS
from benchmarks.targets_by_name import TARGETS
from mpac.cli.errors import UserError

ALL = "all"
WIDTH = 140  # columns, if the output is not a terminal
USUAL = ("payments",)
"""What is measured if no row is named: all of them take hours."""


def _help_of_rows() -> str:
    width = max(map(len, ROWS))
    lines = [f"  {name:<{width}}  {row.summary}" for name, row in ROWS.items()]
    return "\n".join(["\b", "ROWS:", *lines, f"  {ALL:<{width}}  all of them, one after the other"])


@click.command(epilog=_help_of_rows(), context_settings={"max_content_width": 130})
@click.argument("rows", nargs=-1, type=click.Choice([*ROWS, ALL]), metavar="[ROW]...")
@click.option("--quick", is_flag=True, help="Short loads, which show that it runs; the figures mean little.")
@click.option("--rounds", type=click.IntRange(1, 20), help="Interleaved rounds; the table shows their medians.")
@click.option("--in-flight", type=click.IntRange(1, 4096), help="Terminals of the closed loops.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change another value of the rows' plans.")
@click.option("--only", multiple=True, type=click.Choice(list(TARGETS)), help="Measure only these, without the others.")
@click.option("--profile", "is_profile", is_flag=True, help="Print instead where the product's CPU time goes.")
@click.option(
    "--orders", "is_orders", is_flag=True, help="Measure instead what an order costs compared with a payment."
)
@click.option(
    "--results", "path", type=click.Path(path_type=Path), help="The JSON file to write; else one in benchmarks/results."
)
def main(
    *,
    rows: tuple[str, ...],
    quick: bool,
    rounds: int | None,
    in_flight: int | None,
    settings: tuple[str, ...],
    only: tuple[str, ...],
    is_profile: bool,
    is_orders: bool,
    path: Path | None,
) -> None:
    """Measure throughput, latencies and CPU time: the named rows, or `payments`, in twelve minutes."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    given = {"rounds": rounds, "in_flight": in_flight}
    changes = [*settings, *(f"{name}={value}" for name, value in given.items() if value is not None)]
    try:
        if is_profile:
            asyncio.run(profile(with_settings(QUICK if quick else Plan(), changes), console))
            return
        content = results.header(" ".join(["python3 run.py bench", *sys.argv[1:]]))
        mark = "-orders" if is_orders else f"-{'-'.join(rows)}" if rows else ""
        file = path or results.FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%S}{mark}.json"
        if is_orders:
            plan = with_settings(ORDERS_QUICK if quick else OrdersPlan(), changes)
            results.write(content | compare_orders(plan, console), file)
        else:
            names = list(ROWS) if ALL in rows else list(dict.fromkeys(rows or USUAL))
            measured = measure_rows([ROWS[name] for name in names], console, quick=quick, changes=changes, only=only)
            for found in measured:
                content |= found
                results.write(content, file)
    except UserError as error:
        raise click.ClickException(str(error)) from error
    console.print(f"Written to {file}.")
    if content.get("refused"):
        raise click.ClickException("Some rows have no figures; the reasons are above.")


def measure_rows(
    rows: list[Row], console: Console, *, quick: bool, changes: list[str], only: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Measure the rows one after the other, and yield after each what goes into the file.

    A row that fails is reported at once and has no figures; the others are measured all the same.
    """
    plans = {
        row.name: with_settings(row.quick if quick else row.plan, changes, of_several=len(rows) > 1) for row in rows
    }
    found: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for place, row in enumerate(rows, 1):
        if len(rows) > 1:
            console.rule(f"{row.name}, {place} of {len(rows)}")
        run, started = Run(row.name, console, only=only), time.monotonic()
        try:
            figures = asyncio.run(row.measure(run, plans[row.name]))
        except UserError as error:
            console.print(f"{row.name}: {error}", style="red", markup=False)
            refused[row.name] = str(error)
        except Exception as error:  # a bug in one row must not lose the hours of the others
            console.print_exception()
            refused[row.name] = f"{type(error).__name__}: {error}"
        else:
            results.show_result(row, run, figures, console)
            found[row.name] = results.result_of(row, plans[row.name], run, figures, seconds=time.monotonic() - started)
        usual = found.get("payments")
        # Scripts of before there were rows read the usual row at the top of the file.
        top = {"plan": usual["plan"], **usual["figures"]} if usual else {}
        yield {"quick": quick, "rows": dict(found), "refused": dict(refused), **top}


if __name__ == "__main__":
    main()

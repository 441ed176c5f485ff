"""``python3 run.py bench``: measure the product and its rivals (``benchmarks.rivals``) in interleaved rounds."""

import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import report
from benchmarks.measure import Sandbox, measure_target, stamp
from benchmarks.orders import ORDERS_QUICK, OrdersPlan, compare_orders
from benchmarks.plan import QUICK, Plan
from benchmarks.profiling import profile
from benchmarks.rivals.orm_celery.target import OrmCelery
from benchmarks.rivals.taskiq.target import Taskiq
from benchmarks.targets import Product, Target
from mpac.cli.errors import UserError
from mpac.stack.local_stack import LocalStack
from mpac.stack.state_folder import ROOT

RESULTS = ROOT / "benchmarks" / "results"
TARGETS: dict[str, Callable[[LocalStack], Target]] = {"product": Product, "taskiq": Taskiq, "orm_celery": OrmCelery}


@click.command()
@click.option("--quick", is_flag=True, help="One short round, which shows that it runs; its figures mean little.")
@click.option("--rounds", type=click.IntRange(1, 20), help="Interleaved rounds; the table shows their medians.")
@click.option("--in-flight", type=click.IntRange(1, 4096), help="Terminals of the closed loop.")
@click.option("--only", multiple=True, type=click.Choice(list(TARGETS)), help="Measure only these.")
@click.option("--profile", "is_profile", is_flag=True, help="Print instead where the product's CPU time goes.")
@click.option(
    "--orders", "is_orders", is_flag=True, help="Measure instead what an order costs compared with a payment."
)
@click.option(
    "--results", type=click.Path(path_type=Path), help="The JSON file to write; else one in benchmarks/results."
)
def main(
    *,
    quick: bool,
    rounds: int | None,
    in_flight: int | None,
    only: tuple[str, ...],
    is_profile: bool,
    is_orders: bool,
    results: Path | None,
) -> None:
    """Measure throughput, latencies and CPU time per payment of the product and of a usual design."""
    plan = QUICK if quick else Plan()
    plan = replace(plan, rounds=rounds or plan.rounds, in_flight=in_flight or plan.in_flight)
    console = Console()
    try:
        if is_profile:
            asyncio.run(profile(plan, console))
            return
        if is_orders:
            usual = ORDERS_QUICK if quick else OrdersPlan()
            wanted = replace(usual, rounds=rounds or usual.rounds, in_flight=in_flight or usual.in_flight)
            whole = compare_orders(wanted, console)
        else:
            found = asyncio.run(_run(plan, only or tuple(TARGETS), console))
            report.show(found, console)
            whole = {"plan": asdict(plan), "summary": report.summary(found), "rounds": found}
    except UserError as error:
        raise click.ClickException(str(error)) from error
    path = results or RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}{'-orders' if is_orders else ''}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": _machine(), **whole}, indent=1) + "\n")
    console.print(f"Written to {path}.")


async def _run(plan: Plan, names: tuple[str, ...], console: Console) -> report.Rounds:
    found: report.Rounds = {name: [] for name in names}
    run = stamp()
    with tempfile.TemporaryDirectory(prefix="mpac-bench-", ignore_cleanup_errors=True) as folder:
        async with LocalStack(Path(folder) / "home", restart=False, durable=True) as stack:
            targets: dict[str, Target] = {name: TARGETS[name](stack) for name in names}
            product = Product(stack)
            await product.stop()
            for number in range(plan.rounds):
                for name, target in targets.items():
                    started = time.monotonic()
                    sandbox = Sandbox(stack.urls.sandbox, stack.control_key)
                    figures = await measure_target(target, plan=plan, sandbox=sandbox, run=f"{run}-{number}-{name}")
                    found[name].append(figures)
                    console.print(_line(number, name, figures, time.monotonic() - started))
    return found


def _line(number: int, name: str, figures: dict[str, Any], seconds: float) -> str:
    closed, rest = figures["closed"], figures["rest"]
    return (
        f"round {number + 1}, {name}: {closed['per_second']:,.0f} payments/s, "
        f"{closed['processor_ms']['all of its own']:.2f} ms of CPU time each; at rest POST "
        f"{rest['post_ms'].get('p99', 0):.1f} ms, final {rest['final_ms'].get('p99', 0):.1f} ms (P99); "
        f"other processes used {closed['share of others']:.2f} CPUs; {seconds:.0f} s"
    )


def _machine() -> dict[str, Any]:
    return {
        "processors": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }


if __name__ == "__main__":
    main()

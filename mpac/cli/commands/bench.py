"""`mpac bench`: measure what the product can do, and what it costs."""

import sys
from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack.attach import exec_command


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help"]}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@home_option
def bench(arguments: tuple[str, ...], home: Path) -> None:  # noqa: ARG001 - every command takes --home
    """Measure throughput, latencies and CPU time; ARGUMENTS go to `python -m benchmarks`.

    Name what to measure: `bench reads`, `bench waits mix`, or `bench all`, which takes hours. `bench -- --help` lists
    the names and the options. Without a name, the product under full load is compared with its rivals, the same service in
    usual designs, in about twelve minutes. --quick shows within a minute that a benchmark runs, --profile prints where the
    product spends its time, and --orders compares an order with a payment.

    It starts its own durable servers and does not touch the local stack.
    """
    exec_command((sys.executable, "-m", "benchmarks", *arguments), {}, source="benchmarks/__main__.py")

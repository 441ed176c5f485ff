"""`mpac bench`: measure payments per second and what each costs."""

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
    """Measure throughput; ARGUMENTS go to `python -m benchmarks`.

    `python3 run.py bench -- --help` lists the arguments. Without arguments the product is compared with its rival, the
    same service in a usual design, in about eight minutes. --quick shows within one minute that the benchmark runs,
    --profile prints where the product spends its time, and --orders compares an order with a payment.

    It starts its own durable servers and does not touch the local stack.
    """
    exec_command((sys.executable, "-m", "benchmarks", *arguments), {}, source="benchmarks/__main__.py")

"""`mpac bench`: payments per second, and what each costs."""

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
def bench(arguments: tuple[str, ...], home: Path) -> None:  # noqa: ARG001 - every word takes --home
    """Measure; ARGUMENTS go to `python -m benchmarks`, `mpac bench -- --help` shows all of them.

    Without any the product is measured beside its rival, in about eight minutes; --quick shows in one that it runs,
    --profile says where the product's time goes, --orders what an order costs beside a payment.

    It starts servers of its own, durable ones, and leaves the local stack alone.
    """
    exec_command((sys.executable, "-m", "benchmarks", *arguments), {}, source="benchmarks/__main__.py")

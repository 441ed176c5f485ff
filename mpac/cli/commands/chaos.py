"""`mpac chaos`: run the long fault tests, which kill real processes."""

import sys
from pathlib import Path

import click

from mpac.cli.child_process import run_child
from mpac.cli.options import home_option
from mpac.stack.state_folder import ROOT

LONG = ("tests/chaos", "-m", "long")


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@home_option
def chaos(pytest_arguments: tuple[str, ...], home: Path) -> None:  # noqa: ARG001 - every command takes --home
    """Run the long fault tests one after the other. Run nothing else on this machine meanwhile.

    PYTEST_ARGUMENTS select tests, for example `python3 run.py chaos -k broker`. All of them take about an hour.
    """
    command = [sys.executable, "-m", "pytest", *LONG, *pytest_arguments]
    sys.exit(run_child(command, cwd=ROOT))

"""`mpac beat`: send the periodic tasks. Several may run at once."""

from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, exec_command
from mpac.stack.services import SOURCES

NEEDS = ["MPAC_DATABASE_URL", "MPAC_BROKER_URL"]


@click.command()
@home_option
def beat(home: Path) -> None:
    """Run beat, which sends the periodic tasks. It replaces this process."""
    exec_command(commands.beat(), attached_environment(home, needs=NEEDS), source=SOURCES["beat"])

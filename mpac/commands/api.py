"""`mpac api`: one API process."""

from pathlib import Path

import click

from mpac.options import home_option, port_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, become
from mpac.stack.parts import SOURCES
from mpac.stack.ports import BASE

NEEDS = ["MPAC_DATABASE_URL", "MPAC_BROKER_URL"]


@click.command()
@port_option(BASE)
@home_option
def api(host: str, port: int, home: Path) -> None:
    """Run one API process in place of this one: its pid and signals are the command's own."""
    become(commands.api(host=host, port=port), attached_environment(home, needs=NEEDS), source=SOURCES["api"])

"""`mpac flower`: show workers and tasks in a browser, behind a password."""

from pathlib import Path

import click

from mpac.cli.options import home_option, port_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, exec_command
from mpac.stack.environment import FLOWER_USER
from mpac.stack.ports import BASE
from mpac.stack.services import SOURCES

NEEDS = ["MPAC_BROKER_URL", "MPAC_FLOWER_PASSWORD"]


@click.command()
@port_option(BASE + 1)
@click.option("--operate", is_flag=True, help="Allow stopping workers and revoking tasks; otherwise it is read-only.")
@home_option
def flower(host: str, port: int, *, operate: bool, home: Path) -> None:
    """Run Flower for user MPAC_FLOWER_USER with MPAC_FLOWER_PASSWORD. It replaces this process.

    Its /metrics and /healthcheck need no password: keep the port on a private network.
    """
    environment = attached_environment(home, needs=NEEDS)
    user = environment.get("MPAC_FLOWER_USER", FLOWER_USER)
    login = commands.flower_variables(user, environment["MPAC_FLOWER_PASSWORD"])
    command = commands.flower(host=host, port=port, mode="operate" if operate else "read-only")
    exec_command(command, {**environment, **login}, source=SOURCES["flower"])

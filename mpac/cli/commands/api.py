"""`mpac api`: run one API process."""

from pathlib import Path

import click

from mpac.cli.options import home_option, port_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, exec_command
from mpac.stack.ports import BASE
from mpac.stack.services import SOURCES

LOOPBACK = ("127.0.0.1", "localhost")
NEEDS = ["MPAC_DATABASE_URL", "MPAC_BROKER_URL"]


@click.command()
@port_option(BASE)
@home_option
def api(host: str, port: int, home: Path) -> None:
    """Run one API process. It replaces this process, so the pid stays the same and signals reach it."""
    environment = attached_environment(home, needs=NEEDS)
    if host in LOOPBACK:  # any other host is an installation, which must set its public address itself
        environment = {"MPAC_PUBLIC_URL": f"http://{host}:{port}", **environment}
    exec_command(commands.api(host=host, port=port), environment, source=SOURCES["api"])

"""`mpac sandbox`: run the sandbox provider, which stands in for an acquirer and has its own ledger."""

from pathlib import Path

import click

from mpac.cli.options import home_option, port_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, exec_command
from mpac.stack.environment import CONTROL_KEY_VARIABLE
from mpac.stack.ports import BASE
from mpac.stack.secrets import load_secrets
from mpac.stack.services import SOURCES
from mpac.stack.state_folder import open_home, private_folder


@click.command()
@port_option(BASE + 2)
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for its ledger; default: in the state folder.",
)
@home_option
def sandbox(*, host: str, port: int, store: Path | None, home: Path) -> None:
    """Run the sandbox provider. It replaces this process."""
    folder = store.absolute() if store else private_folder(open_home(home).sandbox)
    command = commands.sandbox(host=host, port=port, store=str(folder))
    environment = attached_environment(home)
    if store is None:  # with --store the sandbox generates a key there if none is given
        environment.setdefault(CONTROL_KEY_VARIABLE, load_secrets(open_home(home))["sandbox_control_key"])
    exec_command(command, environment, source=SOURCES["sandbox"])

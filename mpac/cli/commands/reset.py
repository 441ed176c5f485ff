"""`mpac reset`: stop the stack and delete everything it stored."""

from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack.detach import stop_other
from mpac.stack.external_folder import delete_external_folder
from mpac.stack.run_file import clear_leftovers, exclusive_lock
from mpac.stack.state_folder import Home, empty_home


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@home_option
def reset(*, yes: bool, home: Path) -> None:
    """Stop the stack and delete its database, broker data, sandbox ledger, keys and logs."""
    folder = Home(home.absolute())
    if not folder.path.exists():
        click.echo(f"There is nothing to delete: {folder.path} does not exist.")
        return
    if not yes:
        click.confirm(f"Delete everything the local stack stored in {folder.path}?", abort=True)
    stop_other(folder)
    if folder.is_marked:
        with exclusive_lock(folder):
            clear_leftovers(folder)
            delete_external_folder(folder)
            empty_home(folder)
    else:
        empty_home(folder)  # raises the error that says why it is refused
    click.echo(f"Deleted everything in {folder.path}.")

"""`mpac down`: stop the stack of another terminal, or one started with --detach."""

from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack.detach import stop_other
from mpac.stack.home import Home, near_home


@click.command()
@home_option
def down(home: Path) -> None:
    """Stop the stack that runs in the state folder; its data stays."""
    folder = Home(home.absolute())
    stopped = stop_other(folder)
    click.echo("Stopped; the data stays." if stopped else f"No stack runs in {folder.path}.{near_home(folder.path)}")

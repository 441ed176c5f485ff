"""`mpac down`: stop a stack that another terminal started, or that was started with --detach."""

from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack.detach import stop_other
from mpac.stack.state_folder import Home, suggest_home


@click.command()
@home_option
def down(home: Path) -> None:
    """Stop the stack that runs in the state folder and keep its data."""
    folder = Home(home.absolute())
    stopped = stop_other(folder)
    click.echo(
        "Stopped. The data is still there; `reset` deletes it."
        if stopped
        else f"No stack is running in {folder.path}.{suggest_home(folder.path)}"
    )

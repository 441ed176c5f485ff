"""`mpac migrate`: bring the database to the newest schema (or to a named revision)."""

from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, exec_command


@click.command()
@click.argument("revision", default="head")
@home_option
def migrate(revision: str, home: Path) -> None:
    """Bring the database to the newest schema, or to REVISION.

    The database is MPAC_DATABASE_URL, else the one of the local stack that is up.
    """
    environment = attached_environment(home, needs=["MPAC_DATABASE_URL"])
    exec_command(commands.migrate(revision), environment, source="migrations/env.py")

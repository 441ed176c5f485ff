"""`mpac migrate`: bring the database to the newest schema or to a named revision, or start a new migration."""

from pathlib import Path

import click
from click.core import ParameterSource

from mpac.cli.errors import WrongUsage
from mpac.cli.options import home_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, exec_command


@click.command()
@click.argument("revision", default="head")
@click.option(
    "--new", "new_name", metavar="NAME", help="Only write the next migration file, for example --new add_tip_limit."
)
@home_option
def migrate(revision: str, *, new_name: str | None, home: Path) -> None:
    """Bring the database to the newest schema, or to REVISION.

    The database is MPAC_DATABASE_URL, else that of the local stack that is up. With --new no database is needed or changed:
    the file gets the next number, the revision before it, the time-outs and an outline to fill in.
    """
    if new_name is not None:
        if click.get_current_context().get_parameter_source("revision") is not ParameterSource.DEFAULT:
            raise WrongUsage("--new writes a file and takes no REVISION: leave one of the two out.")
        _write(new_name)
        return
    environment = attached_environment(home, needs=["MPAC_DATABASE_URL"])
    exec_command(commands.migrate(revision), environment, source="migrations/env.py")


def _write(name: str) -> None:
    from mpac.devtools.new_migration import new_migration  # noqa: PLC0415 - `mpac --help` shall not wait for alembic

    file = new_migration(name)
    click.echo(f"{file} written. Fill it in, then run:")
    click.echo("  python3 run.py migrate")
    click.echo("  python3 run.py test tests/integration/migrations")

"""`mpac archive`: move old months of payments out of the live tables, and back."""

import getpass
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from mpac.cli.errors import WrongUsage
from mpac.cli.exit_codes import BROKEN, HOLDS, NOT_CHECKED, UNSURE, UserErrorWithCode, user_errors_exit_with
from mpac.cli.options import home_option
from mpac.stack.attach import attach

if TYPE_CHECKING:
    from workflows.archive.archive import Archive
    from workflows.archive.months import Month

NEEDS = ["MPAC_DATABASE_URL", "MPAC_BROKER_URL"]
NARROWEST = 120  # columns, if the output is not a terminal


@click.command()
@click.argument("month", required=False)
@click.option(
    "--list", "as_list", is_flag=True, help="List the months, and why each may be archived or not (the default)."
)
@click.option("--before", metavar="MONTH", help="Archive all months before MONTH, oldest first.")
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), help="The folder of the files.")
@click.option("--yes", is_flag=True, help="Do it. Without it, the command only says what it would do.")
@click.option("--drop", is_flag=True, help="Also drop the archived tables, after their files were read back and agree.")
@click.option("--restore", is_flag=True, help="Bring MONTH back, or open it again after an interrupted run.")
@home_option
def archive(
    month: str | None,
    before: str | None,
    folder: Path | None,
    home: Path,
    *,
    as_list: bool,
    yes: bool,
    drop: bool,
    restore: bool,
) -> None:
    """Move old months of payments out of the live tables: MONTH as in 2026-11, or --before MONTH.

    Rows go to files in a folder per month in --to, and the month's tables to the schema "archive" of the database. Balances
    are carried over, so accounts, settlements and all rules stay as they are. An interrupted run is repeated with the same
    command. docs/operations.md#archive-old-months has the steps.

    \b
    Exit codes:
      0   done, or the list was printed
      1   the files of a month are damaged or differ from its tables; nothing was dropped
      2   the command was called wrongly
      3   nothing was done, or not everything: --yes is missing, a month may not be archived yet,
          or its tables were in use all the time
      4   the database is down or has another schema, or another `mpac archive` runs
      70  a bug of this command, with its traceback
    """
    wanted = _wanted(month, before, as_list=as_list, restore=restore, drop=drop)
    if wanted and not restore and folder is None:
        raise WrongUsage("Name the folder of the files: --to DIR.")
    with _explained(), user_errors_exit_with(NOT_CHECKED):
        attach(home, needs=NEEDS)
        with _archive() as run:
            code = HOLDS
            if wanted is None:
                _show(run)
            elif restore:
                code = _restore(run, wanted, yes=yes)
            else:
                assert folder is not None  # noqa: S101 - checked above
                names = _before(run, wanted) if before else [wanted]
                codes = [_archive_one(run, name, folder.absolute(), yes=yes, drop=drop) for name in names]
                code = BROKEN if BROKEN in codes else max(codes, default=HOLDS)
    sys.exit(code)


def _wanted(month: str | None, before: str | None, *, as_list: bool, restore: bool, drop: bool) -> str | None:
    """Return the name of the month on the command line, or ``None`` for a list. Raises ``WrongUsage``."""
    from workflows.archive.months import month_name  # noqa: PLC0415 - keeps `mpac --help` fast

    given = [word for word in (month, before) if word]
    if len(given) > 1 or (as_list and given):
        raise WrongUsage("Name one MONTH, or --before MONTH, or --list.")
    if not given:
        if restore or drop:
            raise WrongUsage("Name the MONTH, for example 2026-11.")
        return None
    if restore and (before or drop):
        raise WrongUsage("--restore takes one MONTH, and neither --before nor --drop.")
    name = month_name(given[0])
    if name is None:
        raise WrongUsage(f"{given[0]!r} is not a month: write for example 2026-11.")
    return name


@contextmanager
def _archive() -> "Iterator[Archive]":
    """Connect, as the only process that archives."""
    from workflows.archive.archive import archiving  # noqa: PLC0415 - keeps `mpac --help` fast
    from workflows.archive.obstacles import Policy  # noqa: PLC0415 - as above
    from workflows.settings import load_settings  # noqa: PLC0415 - as above

    settings = load_settings()
    by, policy = f"{getpass.getuser()}@{socket.gethostname()}", Policy(settings.archive_after_months)
    with archiving(settings.database_url.get_secret_value(), policy=policy, by=by, report=click.echo) as run:
        yield run


@contextmanager
def _explained() -> Iterator[None]:
    """Say what the person at the keyboard can do. Raises ``UserErrorWithCode``."""
    import psycopg  # noqa: PLC0415 - keeps `mpac --help` fast

    from workflows.archive.archive import AnotherIsArchiving, WrongMonth  # noqa: PLC0415 - as above
    from workflows.archive.files import FilesDiffer  # noqa: PLC0415 - as above
    from workflows.archive.move import MonthBusy  # noqa: PLC0415 - as above

    try:
        yield
    except AnotherIsArchiving as error:
        said = "Another `mpac archive` works on this database: wait until it has ended."
        raise UserErrorWithCode(said, NOT_CHECKED) from error
    except FilesDiffer as error:
        raise UserErrorWithCode(f"{error}. Nothing was dropped.", BROKEN) from error
    except MonthBusy as error:
        said = "The tables were in use by long transactions all the time: run the same command again at a quieter time."
        raise UserErrorWithCode(said, UNSURE) from error
    except WrongMonth as error:
        raise UserErrorWithCode(str(error), UNSURE) from error
    except psycopg.Error as error:
        said = str(error).strip().partition("\n")[0]
        raise UserErrorWithCode(f"The database refused ({said}). Run the same command again.", NOT_CHECKED) from error


def _archive_one(run: "Archive", name: str, folder: Path, *, yes: bool, drop: bool) -> int:
    """Archive one month, or say what would be done, and return the exit code."""
    from workflows.archive.archive import MonthKept  # noqa: PLC0415 - keeps `mpac --help` fast

    month = run.find(name)
    if not yes:
        return _say_what_would_be_done(run, month, folder, drop=drop)
    try:
        run.archive_month(name, folder / month.label)
    except MonthKept as kept:
        click.echo(f"{month.label} stays: {kept}.")
        return UNSURE
    if drop:
        run.drop_month(name, folder / month.label)
    return HOLDS


def _say_what_would_be_done(run: "Archive", month: "Month", folder: Path, *, drop: bool) -> int:
    if month.archived_at:
        click.echo(f"{month.label} is archived since {month.archived_at:%Y-%m-%d}.")
    elif reasons := run.obstacles(month):
        click.echo(f"{month.label} stays: {'; '.join(reasons)}.")
        return UNSURE
    else:
        click.echo(
            f"{month.label} would be written to {folder / month.label}, and its tables moved to the schema archive."
        )
    if drop and not month.dropped_at:
        click.echo(f"{month.label}: the archived tables would be dropped, after the files were read back.")
    click.echo("Nothing was done: repeat the command with --yes.")
    return UNSURE


def _restore(run: "Archive", name: str, *, yes: bool) -> int:
    month = run.find(name)
    if not yes:
        what = "attached again" if month.archived_at else "opened to changes"
        click.echo(f"{month.label} would be {what}. Nothing was done: repeat the command with --yes.")
        return UNSURE
    run.restore_month(name)
    return HOLDS


def _before(run: "Archive", name: str) -> list[str]:
    """Return the live months that end before the month ``name`` begins, oldest first."""
    from workflows.archive.months import read_months  # noqa: PLC0415 - keeps `mpac --help` fast

    first = run.find(name).low
    return [month.name for month in read_months(run.connection) if not month.archived_at and month.high <= first]


def _show(run: "Archive") -> None:
    """Print the months with their sizes, and whether each may be archived."""
    from workflows.archive.months import read_months, read_sizes  # noqa: PLC0415 - keeps `mpac --help` fast

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("month", "payments", "size"):
        table.add_column(name, justify="left" if name == "month" else "right", no_wrap=True)
    table.add_column("state")
    for month in read_months(run.connection):
        sizes = read_sizes(run.connection, month)
        table.add_row(month.label, f"{sizes['rows']:,}", f"{sizes['bytes'] / 1e6:,.1f} MB", _state(run, month))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, NARROWEST)
    console.print(table)
    console.print("Payments are estimated. `mpac archive MONTH --to DIR` says what it would do.", style="dim")


def _state(run: "Archive", month: "Month") -> str:
    if month.dropped_at:
        return (
            f"archived {month.archived_at:%Y-%m-%d} by {month.archived_by}, tables dropped {month.dropped_at:%Y-%m-%d}"
        )
    if month.archived_at:
        return f"archived {month.archived_at:%Y-%m-%d} by {month.archived_by}"
    frozen = "closed to changes by an interrupted run; " if month.is_frozen else ""
    reasons = run.obstacles(month)
    return frozen + ("; ".join(reasons) if reasons else "may be archived")

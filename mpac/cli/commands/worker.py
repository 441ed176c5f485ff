"""`mpac worker`: one worker process, for all queues or for some; with `--check`, whether it consumes."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from mpac.cli.errors import WrongUsage
from mpac.cli.offline_help import unknown
from mpac.cli.options import home_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, exec_command
from mpac.stack.services import SOURCES

NEEDS = ["MPAC_DATABASE_URL", "MPAC_BROKER_URL"]
DEFAULT_SILENCE_SECONDS = "60"  # as in the settings, whose import takes a second
CONNECT_WITHIN_SECONDS = 3
_HEARD = """
    SELECT abs(extract(epoch FROM now() - heard_at)) <= CAST(%(limit)s AS double precision)
    FROM workers WHERE name = %(worker)s
"""
ALL_QUEUES = f"{commands.PAYMENTS_QUEUE},{commands.OTHER_QUEUES}"


@click.command()
@click.option("--queues", default=ALL_QUEUES, show_default=True, metavar="A,B,…", help="The queues to work on.")
@click.option("--name", default="worker", show_default=True, help="Its name in Flower, before the machine's.")
@click.option("--check", is_flag=True, help="Start nothing: exit with 1 if the worker of this name consumes nothing.")
@home_option
def worker(queues: str, name: str, *, check: bool, home: Path) -> None:
    """Run one worker process in place of this one: SIGTERM lets it finish what is in hand.

    Give payments workers of their own, so that nothing else holds them up.
    """
    check_queues(queues)
    if check:
        complaint = is_deaf(f"{name}@{socket.gethostname()}", attached_environment(home, needs=NEEDS[:1]))
        click.echo(complaint or f"{name} consumes its queues.", err=bool(complaint))
        sys.exit(1 if complaint else 0)
    command = commands.worker(queues=queues, name=name)
    exec_command(command, attached_environment(home, needs=NEEDS), source=SOURCES["worker"])


def check_queues(queues: str) -> None:
    """A mistyped queue would be a worker that waits for ever. Raises ``WrongUsage`` naming those there are."""
    known = ALL_QUEUES.split(",")
    for queue in queues.split(","):
        if queue not in known:
            raise WrongUsage(unknown("queue", queue, known))


def is_deaf(worker: str, environment: Mapping[str, str]) -> str:
    """Return in a sentence why the worker cannot be relied on; empty if it has consumed a message of its own lately."""
    import psycopg  # noqa: PLC0415 - takes 0.2 s, which starting a worker need not wait for

    limit = environment.get("MPAC_SILENCE_SECONDS") or DEFAULT_SILENCE_SECONDS
    try:
        with psycopg.connect(environment["MPAC_DATABASE_URL"], connect_timeout=CONNECT_WITHIN_SECONDS) as connection:
            row = connection.execute(_HEARD, {"worker": worker, "limit": limit}).fetchone()
    except psycopg.Error as error:
        return f"The database does not say whether {worker} consumes: {str(error).strip()}"
    if row is None:
        return f"{worker} has never written that it runs, or has stopped."
    return "" if row[0] else f"{worker} has consumed no message for {limit} seconds: it is deaf, frozen or dead."

"""`mpac worker`: run one worker process for all or some queues; with `--check`, report whether it consumes."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from mpac.cli.errors import WrongUsage
from mpac.cli.offline_help import unknown_name_message
from mpac.cli.options import home_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, exec_command
from mpac.stack.services import SOURCES

NEEDS = ["MPAC_DATABASE_URL", "MPAC_BROKER_URL"]
DEFAULT_SILENCE_SECONDS = "60"  # the default of the settings, whose import takes a second
CONNECT_WITHIN_SECONDS = 3
_HEARD = """
    SELECT abs(extract(epoch FROM now() - heard_at)) <= CAST(%(limit)s AS double precision)
    FROM workers WHERE name = %(worker)s
"""
ALL_QUEUES = f"{commands.PAYMENTS_QUEUE},{commands.OTHER_QUEUES}"


@click.command()
@click.option("--queues", default=ALL_QUEUES, show_default=True, metavar="A,B,…", help="The queues to consume.")
@click.option("--name", default="worker", show_default=True, help="Its name in Flower, before that of the machine.")
@click.option("--check", is_flag=True, help="Start nothing; exit with 1 if the worker of this name consumes nothing.")
@home_option
def worker(queues: str, name: str, *, check: bool, home: Path) -> None:
    """Run one worker process. It replaces this process; on SIGTERM it finishes the tasks in progress.

    Run separate workers for the queue `payments`, so that no other work delays a payment.
    """
    check_queues(queues)
    if check:
        complaint = consumption_problem(f"{name}@{socket.gethostname()}", attached_environment(home, needs=NEEDS[:1]))
        click.echo(complaint or f"{name} consumes its queues.", err=bool(complaint))
        sys.exit(1 if complaint else 0)
    command = commands.worker(queues=queues, name=name)
    exec_command(command, attached_environment(home, needs=NEEDS), source=SOURCES["worker"])


def check_queues(queues: str) -> None:
    """Raise ``WrongUsage`` for an unknown queue: a worker would wait for messages that never come."""
    known = ALL_QUEUES.split(",")
    for queue in queues.split(","):
        if queue not in known:
            raise WrongUsage(unknown_name_message("queue", queue, known))


def consumption_problem(worker: str, environment: Mapping[str, str]) -> str:
    """Return why the worker can't be relied on.

    Return an empty string if the worker has recently consumed a message that was sent to it alone.
    """
    import psycopg  # noqa: PLC0415 - takes 0.2 s, which starting a worker does not need

    limit = environment.get("MPAC_SILENCE_SECONDS") or DEFAULT_SILENCE_SECONDS
    try:
        with psycopg.connect(environment["MPAC_DATABASE_URL"], connect_timeout=CONNECT_WITHIN_SECONDS) as connection:
            row = connection.execute(_HEARD, {"worker": worker, "limit": limit}).fetchone()
    except psycopg.Error as error:
        return f"It is unknown whether {worker} consumes, because the database failed: {str(error).strip()}"
    if row is None:
        return f"{worker} has never reported that it runs, or it has stopped."
    return "" if row[0] else f"{worker} has consumed no message for {limit} seconds: it is deaf, frozen or dead."

"""`mpac worker`: one worker process, for all queues or for some."""

from pathlib import Path

import click

from mpac.command_line import unknown
from mpac.options import home_option
from mpac.stack import commands
from mpac.stack.attach import attached_environment, become
from mpac.stack.parts import SOURCES
from mpac.trouble import WrongUsage

NEEDS = ["MPAC_DATABASE_URL", "MPAC_BROKER_URL"]
ALL_QUEUES = f"{commands.PAYMENTS_QUEUE},{commands.OTHER_QUEUES}"


@click.command()
@click.option("--queues", default=ALL_QUEUES, show_default=True, metavar="A,B,…", help="The queues to work on.")
@click.option("--name", default="worker", show_default=True, help="Its name in Flower, before the machine's.")
@home_option
def worker(queues: str, name: str, home: Path) -> None:
    """Run one worker process in place of this one: SIGTERM lets it finish what is in hand.

    Give payments workers of their own, so that nothing else holds them up.
    """
    check_queues(queues)
    command = commands.worker(queues=queues, name=name)
    become(command, attached_environment(home, needs=NEEDS), source=SOURCES["worker"])


def check_queues(queues: str) -> None:
    """A mistyped queue would be a worker that waits for ever. Raises ``WrongUsage`` naming those there are."""
    known = ALL_QUEUES.split(",")
    for queue in queues.split(","):
        if queue not in known:
            raise WrongUsage(unknown("queue", queue, known))

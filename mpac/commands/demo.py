"""`mpac demo`: thirty terminals pay, three stores live through a day, nothing is lost."""

import asyncio
import sys
from pathlib import Path

import click

from mpac.options import home_option

MOST_TERMINALS = 200  # on two cores that carry everything, more only wait for each other
LONGEST_SECONDS = 3_600


@click.command()
@click.option("--terminals", type=click.IntRange(1, MOST_TERMINALS), default=30, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(1, LONGEST_SECONDS), default=15, show_default=True, help="How long they sell."
)
@click.option("--ports", default="auto", show_default=True, metavar="auto|free|BASE", help="As for `mpac up`.")
@click.option("--keep", is_flag=True, help="Leave everything up at the end and say where it is.")
@home_option
def demo(*, terminals: int, seconds: float, ports: str, keep: bool, home: Path) -> None:
    """Watch terminals pay while fingers tap twice, lines break, the provider fails and a worker is killed.

    Then three stores live through a day, on clocks that are moved: they close, count, and are compared with their provider.

    It ends with a table and with the verdicts of two judges that share no code. Exit code 0 only if both find nothing, and
    every payment that was accepted is final.
    """
    from mpac.demo.play import demonstrate  # noqa: PLC0415 - `mpac --help` shall not wait for it

    is_proven = asyncio.run(demonstrate(home.absolute(), terminals=terminals, seconds=seconds, ports=ports, keep=keep))
    sys.exit(0 if is_proven else 1)

"""`mpac demo`: thirty terminals pay, three stores live through a day, nothing is lost."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpac.cli.exit_codes import NOT_CHECKED, user_errors_exit_with
from mpac.cli.options import home_option

if TYPE_CHECKING:
    from mpac.demo.ending import Ending

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

    It ends with what three auditors found: the rules over our database, the provider's ledger, and all books added up.

    \b
    Exit codes:
      0   no rule is broken, every rule that the story exercises looked at something, all of it finished
      1   a rule was broken
      2   the command was called wrongly
      3   this machine was too busy: something did not finish in time, so nothing is said about money
      4   it could not be played: a stack runs in this folder already, the database is away …
      5   not proven: a rule that the story has to exercise had nothing to check (too few sales)
      70  the demonstration itself failed
    """
    from mpac.demo.run import demonstrate  # noqa: PLC0415 - `mpac --help` shall not wait for it

    show = demonstrate(home.absolute(), terminals=terminals, seconds=seconds, ports=ports, keep=keep)
    with user_errors_exit_with(NOT_CHECKED):
        ending = asyncio.run(_interruptible(show))
    sys.exit(ending.end)


async def _interruptible(show: Coroutine[Any, Any, "Ending"]) -> "Ending":
    """``show``, where Ctrl-C cuts tills off in the middle of a sale: what they then complain of is no news."""
    playing = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def complain(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if playing and not playing.cancelling() and not playing.cancelled():
            loop.default_exception_handler(context)

    loop.set_exception_handler(complain)
    return await show

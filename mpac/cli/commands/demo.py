"""`mpac demo`: terminals pay while faults happen, three stores live through a day, and auditors check the result."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpac.cli.exit_codes import NOT_CHECKED, user_errors_exit_with
from mpac.cli.options import home_option

if TYPE_CHECKING:
    from mpac.demo.result import DemoResult

MOST_TERMINALS = 200  # two cores run everything: more terminals would only wait for each other
LONGEST_SECONDS = 3_600


@click.command()
@click.option("--terminals", type=click.IntRange(1, MOST_TERMINALS), default=30, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(1, LONGEST_SECONDS),
    default=15,
    show_default=True,
    help="How long the terminals sell.",
)
@click.option("--ports", default="auto", show_default=True, metavar="auto|free|BASE", help="As for `up`.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end and print the addresses.")
@home_option
def demo(*, terminals: int, seconds: float, ports: str, keep: bool, home: Path) -> None:
    """Watch terminals pay despite double taps, broken connections, a failing provider and a killed worker.

    Then three stores live through a day, on clocks that are moved forward: they close, count their cash and are reconciled
    with their provider.

    It ends with the results of three auditors: of the rules over our database, of the comparison with the provider's ledger,
    and of the sums of all books.

    \b
    Exit codes:
      0   no rule is broken, every rule that the story exercises checked something, everything finished
      1   a rule was broken
      2   the command was called wrongly
      3   this machine was too busy: something did not finish in time, so the result says nothing about money
      4   it could not run: a stack already runs in this folder, the database is down …
      5   not proven: a rule that the story must exercise had nothing to check (too few sales)
      70  the demonstration itself failed
    """
    from mpac.demo.run import demonstrate  # noqa: PLC0415 - keeps `mpac --help` fast

    show = demonstrate(home.absolute(), terminals=terminals, seconds=seconds, ports=ports, keep=keep)
    with user_errors_exit_with(NOT_CHECKED):
        result = asyncio.run(_interruptible(show))
    sys.exit(result.kind)


async def _interruptible(show: Coroutine[Any, Any, "DemoResult"]) -> "DemoResult":
    """Run ``show``.

    After Ctrl-C, ignore the errors of terminals that were interrupted in the middle of a sale.
    """
    playing = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def report_problem(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if playing and not playing.cancelling() and not playing.cancelled():
            loop.default_exception_handler(context)

    loop.set_exception_handler(report_problem)
    return await show

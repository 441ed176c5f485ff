"""`mpac logs`: show the log lines of a stack's processes, even after the stack has ended."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from mpac.cli.options import home_option
from mpac.stack.log_files import LogFollower, choose_logs, last_lines
from mpac.stack.log_lines import LineFormatter, LogLine, as_json
from mpac.stack.output_stream import encode_lines, is_coloured, own_output, reader_is_gone
from mpac.stack.run_file import is_running
from mpac.stack.state_folder import Home

MOST_LINES = 1_000_000


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--follow", "-f", is_flag=True, help="Keep showing new lines until Ctrl-C, even if processes or the stack restart."
)
@click.option(
    "--lines",
    "-n",
    "count",
    type=click.IntRange(0, MOST_LINES),
    default=100,
    show_default=True,
    help="How many of the last lines to show.",
)
@click.option("--json", "as_data", is_flag=True, help="Print one JSON object per line, which names the process.")
@home_option
def logs(names: Sequence[str], *, follow: bool, count: int, as_data: bool, home: Path) -> None:
    """Show the last log lines of the processes NAME, or of all processes, in chronological order.

    NAME is a process as `status` shows it, `supervisor`, or `worker` for all workers. The stack need not be running.
    """
    folder = Home(home.absolute())
    chosen = choose_logs(folder, names)
    formatted = as_json if as_data else LineFormatter(is_coloured=is_coloured(own_output())).format_line
    # Opened before the last lines are read, so that no line is missed in between.
    following = LogFollower(folder, chosen if names else None) if follow else None
    _show(last_lines(folder, chosen, count), formatted)
    if following is None:
        return
    if sys.stderr.isatty() and not is_running(folder):
        click.echo(
            "mpac: No stack is running there now. New lines will be shown as they are written; Ctrl-C ends this.",
            err=True,
        )
    try:
        for lines in following.lines():
            _show(lines, formatted)
    except KeyboardInterrupt:
        return  # the usual way to end it


def _show(lines: Sequence[LogLine], formatted: Callable[[LogLine], str]) -> None:
    """Print the lines. Raises ``BrokenPipeError`` if the reader is gone, even if there are no lines."""
    if reader_is_gone(own_output()):
        raise BrokenPipeError
    rest = encode_lines(formatted(line) for line in lines)
    while rest:
        rest = rest[os.write(own_output(), rest) :]

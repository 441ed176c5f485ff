"""Describe a stack's clock for `status` and `up`."""

import asyncio

from mpac.cli.errors import UserError
from mpac.cli.format_duration import format_duration
from mpac.stack.movable_clock import ClockState, read_clock
from mpac.stack.run_file import RunInfo

HALF_MOVED = "A move of the clock was interrupted and payments are refused: run `python3 run.py clock` to finish it."


def clock_state_of(info: RunInfo) -> ClockState:
    """Return how far ahead the stack's clock is.

    If the stack's database does not answer, return the value at the start.
    """
    try:
        if "postgres" in info["ready"]:
            return asyncio.run(read_clock(info["database_url"]))
    except UserError:
        pass
    return ClockState(info.get("ahead_seconds", 0))


def ahead_text(ahead_seconds: int) -> str:
    """Return a sentence that says that the clock is ``ahead_seconds`` ahead."""
    ahead = format_duration(ahead_seconds, units=3)
    return f"Its clock is {ahead} ahead of this machine's: see `python3 run.py clock`."

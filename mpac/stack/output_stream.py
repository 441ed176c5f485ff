"""Decide how `up` and `logs` print: to a terminal for a person, or to a pipe or file for a program.

| output | shows |
|---|---|
| a terminal | lines for a person, in colour unless NO_COLOR is set or the terminal has none |
| a pipe or a file | JSON, one object per line |
"""

import os
import select
import sys
from collections.abc import Iterable, Mapping

CLOSED = -1  # no descriptor: each write to it fails


def own_output() -> int:
    """Return the descriptor of this process's standard output, or ``CLOSED``."""
    return sys.stdout.fileno() if sys.stdout else CLOSED


def is_coloured(descriptor: int, variables: Mapping[str, str] = os.environ) -> bool:
    """Return whether to print colours.

    Colours are off if NO_COLOR is set (https://no-color.org) or if the terminal has none.
    """
    return is_terminal(descriptor) and not variables.get("NO_COLOR") and variables.get("TERM", "") not in {"", "dumb"}


def is_terminal(descriptor: int) -> bool:
    """Return whether the descriptor is a terminal; a closed one is not."""
    return descriptor != CLOSED and os.isatty(descriptor)


def reader_is_gone(descriptor: int) -> bool:
    """Return whether the output is a pipe whose reader has closed it, as after `| head`."""
    if descriptor == CLOSED:
        return True
    pipe = select.poll()
    pipe.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in pipe.poll(0))


def encode_lines(lines: Iterable[str]) -> bytes:
    """Encode the lines, each with a line break."""
    return "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")

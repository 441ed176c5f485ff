r"""Call a function when the person at the terminal presses Enter.

The terminal stays in its ordinary mode, so Ctrl-C, Ctrl-Z and Ctrl-\\ keep working. A background process must not read
from the terminal: the kernel would stop it (SIGTTIN), and the input is meant for the shell.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable

POLL_SECONDS = 1.0  # while something else is in the foreground, or the terminal has nothing to read
MOST_BYTES = 4_096


def watch_enter(callback: Callable[[], None]) -> bool:
    """Call ``callback`` at each Enter, from the running loop.

    Return False and do nothing if there is no terminal.
    """
    descriptor = sys.stdin.fileno() if sys.stdin else -1
    if descriptor < 0 or not os.isatty(descriptor):
        return False
    _watch(asyncio.get_running_loop(), descriptor, callback)
    return True


def _watch(loop: asyncio.AbstractEventLoop, descriptor: int, callback: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        loop.add_reader(descriptor, _read, loop, descriptor, callback)


def _read(loop: asyncio.AbstractEventLoop, descriptor: int, callback: Callable[[], None]) -> None:
    typed = b""
    with contextlib.suppress(OSError):
        if os.tcgetpgrp(descriptor) == os.getpgrp():
            typed = _read_typed(descriptor)
    if typed:
        callback()
        return
    loop.remove_reader(descriptor)  # it would call again at once
    loop.call_later(POLL_SECONDS, _watch, loop, descriptor, callback)


def _read_typed(descriptor: int) -> bytes:
    """Read what was typed.

    If the shell takes the terminal away meanwhile, the read fails instead of stopping this process.
    """
    before = signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    try:
        return os.read(descriptor, MOST_BYTES)
    finally:
        signal.signal(signal.SIGTTIN, before)

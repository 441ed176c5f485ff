"""Runs a program that has to tidy up after Ctrl-C, and lets it: ``subprocess.run`` kills it after a quarter of a second.

The program is in a session of its own, so that it hears of Ctrl-C once and from here: a second one would cut its tidying
short. Whoever presses again wants just that.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_child(command: Sequence[str], *, cwd: Path) -> int:
    """Run ``command`` to their end; returns the exit code. Raises ``KeyboardInterrupt`` once the program has ended by one."""
    process = subprocess.Popen(command, cwd=cwd, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal would: pytest's own helpers tidy up too
        try:
            process.wait()
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGKILL)
        raise

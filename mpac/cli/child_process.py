"""Run a child process and let it clean up after Ctrl-C; a second Ctrl-C kills it.

``subprocess.run`` would kill the child after a quarter of a second. The child gets its own session, so that this process alone
passes Ctrl-C on, and only once. A second SIGINT from the terminal would interrupt the clean-up.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_child(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None) -> int:
    """Run ``command`` until it ends and return its exit code. ``environment`` is added to ours.

    Raises ``KeyboardInterrupt`` after the child has ended because of Ctrl-C.
    """
    process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(environment or {})}, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # To the whole group, as a terminal does, so that pytest's worker processes clean up as well.
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait()
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGKILL)
        raise

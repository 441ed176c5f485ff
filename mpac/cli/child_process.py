"""Run a child process and let it clean up after Ctrl-C; a second Ctrl-C kills it.

``subprocess.run`` would kill it after a quarter of a second. The child has a session of its own, so that only this process
passes Ctrl-C on, once: a second SIGINT from the terminal would cut the clean-up short.
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
        os.killpg(
            process.pid, signal.SIGINT
        )  # the whole group, as a terminal does: pytest's worker processes clean up too
        try:
            process.wait()
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGKILL)
        raise

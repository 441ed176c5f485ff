"""The description of one process, from which the supervisor starts, probes and stops it.

``ready`` takes the pid of the process and tells whether it can be used. It is called every 20 ms, so it must be cheap and must
not import the product.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mpac.stack.state_folder import ROOT

EXEC_WRAPPER = Path(__file__).with_name("exec_wrapper.py")

Identity = Literal["self", "mapped", "nobody"]
Probe = Callable[[int], Awaitable[bool]]


async def ready_immediately(pid: int) -> bool:
    """Return True as soon as the process runs. For programs that can't be probed."""
    return pid > 0


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """One process of a service, and how to start, probe and stop it."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # not in repr: it holds secrets
    ready: Probe = ready_immediately
    ready_within_seconds: float = 60  # for a cold cache on a busy two-core machine; a crash is noticed at once anyway
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10  # from the stop signal to SIGKILL
    # Without a supervisor there is no broker and no database either, so there is nothing to finish.
    death_signal: signal.Signals = signal.SIGKILL
    identity: Identity = "self"
    folder: str = str(ROOT)  # the working folder, in which `python -m` finds the product
    runs_once: bool = False  # ready when it has ended with exit code 0

    def command_line(self) -> list[str]:
        """Return the command line that starts the process, through the wrapper.

        The process takes over the wrapper's pid.
        """
        launcher = [sys.executable, "-I", "-S", str(EXEC_WRAPPER), str(int(self.death_signal)), str(os.getpid())]
        return [*launcher, self.identity, *self.command]

    def variables(self) -> dict[str, str]:
        """Return the whole environment: ours, with the MPAC_* variables replaced by ``environment``."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("MPAC_")}
        return {**others, "PYTHONUNBUFFERED": "1", **self.environment}

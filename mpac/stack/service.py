"""What the supervisor needs to know of one process: data, no behaviour.

``ready`` answers whether the process with that pid can be used; it is asked every 20 ms, so it must be cheap and must
not import the product.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mpac.stack.home import ROOT

CHILD = Path(__file__).with_name("child.py")

Identity = Literal["self", "mapped", "nobody"]
Probe = Callable[[int], Awaitable[bool]]


async def at_once(pid: int) -> bool:
    """Ready as soon as it runs: for programs that offer nothing to ask."""
    return pid > 0


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """One process of the stack."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # it holds secrets
    ready: Probe = at_once
    ready_within_seconds: float = 60  # a cold cache on a busy two-core machine; a crash is noticed at once anyway
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10  # from the stop signal to SIGKILL
    # Without a supervisor there is no broker and no database either, so there is nothing to finish.
    death_signal: signal.Signals = signal.SIGKILL
    identity: Identity = "self"
    folder: str = str(ROOT)  # the working folder, in which `python -m` finds the product
    runs_once: bool = False  # ready when it has ended well

    def command_line(self) -> list[str]:
        """The command as started: through the launcher, which keeps the pid."""
        launcher = [sys.executable, "-I", "-S", str(CHILD), str(int(self.death_signal)), str(os.getpid())]
        return [*launcher, self.identity, *self.command]

    def variables(self) -> dict[str, str]:
        """The whole environment of the process: ours without its MPAC_* ones, which ``environment`` has decided on."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("MPAC_")}
        return {**others, "PYTHONUNBUFFERED": "1", **self.environment}

"""A local stack that records each process that ended although no test ended it.

The supervisor restarts a crashed worker, and payments are completed all the same. Without this record, a test would pass
even if its fault had ended a process that must survive it.
"""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

from mpac.stack.local_stack import LocalStack
from mpac.stack.process_output import FileOutput
from mpac.stack.state_folder import Home, open_home
from mpac.stack.supervisor import DEADLY, RESTARTED


class WatchedStack(LocalStack):
    """A local stack with ``unexpected_ends``: one sentence for each process that ended although no test ended it."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.unexpected_ends: list[str] = []
        self._kills: Counter[str] = Counter()
        self._stopped: set[str] = set()
        super().__init__(home, output=_Ends(open_home(home), self), **options)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process. If the signal is one that ends it (``DEADLY``), its end is expected."""
        super().kill(name, number)
        if number in DEADLY:
            self._kills[name] += 1

    async def stop(self, name: str) -> None:
        """Stop a process. Its end is expected."""
        self._stopped.add(name)
        await super().stop(name)

    async def start(self, name: str) -> None:
        """Start a process. If no test had stopped or killed it, record its end as unexpected."""
        await super().start(name)
        if name in self._stopped:
            self._stopped.discard(name)
        else:
            self.ended(name, f"{name} had ended and was started by the test.")

    def ended(self, name: str, line: str) -> None:
        """Record ``line``, unless it reports the end of a process that a test has killed."""
        if self._kills[name]:
            self._kills[name] -= 1
        else:
            self.unexpected_ends.append(line)

    def forget_ends(self) -> None:
        """Clear the record, because everything runs again after an earlier test."""
        self.unexpected_ends.clear()
        self._kills.clear()
        self._stopped.clear()


class _Ends(FileOutput):
    """An output for the stack's processes that also passes the supervisor's restart messages to ``WatchedStack``."""

    def __init__(self, home: Home, stack: WatchedStack) -> None:
        super().__init__(home)
        self._stack = stack

    def say(self, name: str, line: str, *, level: str = "WARNING") -> None:
        super().say(name, line, level=level)
        if RESTARTED in line:
            self._stack.ended(name, f"{name} {line}")

"""A local stack that reports each process which ended although no test ended it.

A supervisor starts a crashed worker again, and payments are completed all the same. Without this, a test would pass although
its fault had ended a process that must outlive it.
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
    """A local stack with ``unexpected_ends``: one sentence per process that ended although no test ended it."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.unexpected_ends: list[str] = []
        self._kills: Counter[str] = Counter()
        self._stopped: set[str] = set()
        super().__init__(home, output=_Ends(open_home(home), self), **options)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process; its end is expected if the signal is deadly."""
        super().kill(name, number)
        if number in DEADLY:
            self._kills[name] += 1

    async def stop(self, name: str) -> None:
        """Stop one process; its end is expected."""
        self._stopped.add(name)
        await super().stop(name)

    async def start(self, name: str) -> None:
        """Start a process. If it had ended and no test ended it, that is recorded."""
        await super().start(name)
        if name in self._stopped:
            self._stopped.discard(name)
        else:
            self.ended(name, f"{name} had ended and was started by the test.")

    def ended(self, name: str, line: str) -> None:
        """Record ``line``, unless a test has killed the process once more than it is known to have ended."""
        if self._kills[name]:
            self._kills[name] -= 1
        else:
            self.unexpected_ends.append(line)

    def forget_ends(self) -> None:
        """Start a new record: everything runs, and what an earlier test did is over."""
        self.unexpected_ends.clear()
        self._kills.clear()
        self._stopped.clear()


class _Ends(FileOutput):
    """The output of the processes, which also hears what the supervisor says of their ends."""

    def __init__(self, home: Home, stack: WatchedStack) -> None:
        super().__init__(home)
        self._stack = stack

    def say(self, name: str, line: str, *, level: str = "WARNING") -> None:
        super().say(name, line, level=level)
        if RESTARTED in line:
            self._stack.ended(name, f"{name} {line}")

"""Start the stack of the demonstration with its settings, and run audits on it.

Without ``--keep`` the stack lives inside this process and ends with it. With ``--keep`` it is started in the background as by
`mpac up --detach`, so that it outlives this process. Both write their addresses to ``run.json``, and the demonstration reads
them only there.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mpac.audit.report import AuditReport, audit_all
from mpac.cli.errors import UserError
from mpac.demo.console import StoryConsole
from mpac.demo.retry import TimedOut, TransientFailure, retry_until_answered
from mpac.stack.database_profile import MOVABLE, ORDINARY, SERVERS_OF_THE_USERS, DatabaseProfile
from mpac.stack.detach import detach_up, stop_other, wait_complete
from mpac.stack.local_stack import LocalStack
from mpac.stack.run_file import read_run
from mpac.stack.state_folder import Home, command

SETTINGS = {
    # A call to the provider times out after 2 s (usually 10) …
    "MPAC_SANDBOX_TIMEOUT_SECONDS": "2",
    "MPAC_STATEMENT_TIMEOUT_MS": "2000",
    # … so a lease may be little longer than both together (usually 30 s): a killed worker's payments are soon taken over.
    "MPAC_LEASE_SECONDS": "4.5",
    "MPAC_NUDGE_GRACE_SECONDS": "2",
    # The provider is asked about an unknown outcome after 0.2, 0.5, 1.5 s … instead of 2, 5, 15 s …
    "MPAC_DOUBT_SCHEDULE_SCALE": "0.1",
    # … and "not found" twice within 3 s (usually 60) proves that a call never arrived: the sandbox takes at most 0.25 s.
    "MPAC_SANDBOX_MAX_PROCESSING_SECONDS": "3",
    # Due settlements are swept every 1.5 s instead of 15, and new stores get their first period within 6 s instead of 60.
    "MPAC_TIMETABLE_SCALE": "0.1",
    "MPAC_SANDBOX_MIN_LATENCY_MS": "80",
    "MPAC_SANDBOX_MAX_LATENCY_MS": "250",
}
SETTINGS_SENTENCE = (
    "To save you time, a provider call times out after 2 s instead of 10, a lease lasts 4.5 s instead of 30, and the provider "
    "is asked about unknown outcomes ten times sooner than usual. The provider takes 80 to 250 ms for a call."
)

AUDIT_WITHIN_SECONDS = 60.0  # longer waiting would not help

FIRST = ("sandbox", "api", "worker-payments-1")  # the first payment needs these …
LATER = ("worker-other", "beat", "flower")  # … and does not wait for these


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """The stack, console, seed and options that the chapters use."""

    home: Home
    console: StoryConsole
    seed: dict[str, Any]
    terminals: int
    seconds: float
    is_kept: bool
    wait_for_rest: Callable[[], Awaitable[None]]
    """Wait for the processes that the first payment does not need (``LATER``)."""
    audits: list[AuditReport] = field(default_factory=list)
    """The reports of the audits so far."""

    async def audit(self, moment: str) -> AuditReport:
        """Run all auditors and print their result.

        ``moment`` says in words when this is, for the printed sentence.
        Raises ``UserError`` if the auditors can't read the books.
        """
        run = self.run

        async def attempt() -> AuditReport:
            try:
                report = await audit_all(sandbox_url=run["sandbox_url"], control_key=run["sandbox_control_key"])
            except UserError as error:
                raise TransientFailure(str(error)) from error
            if report.unchecked:
                raise TransientFailure(report.unchecked[0])
            return report

        try:
            report = await retry_until_answered(attempt, what=f"the audit {moment}", within=AUDIT_WITHIN_SECONDS)
        except TimedOut as late:
            raise UserError(f"The audit could not be made: {late}.") from late
        self.audits.append(report)
        self.console.say(f"The auditors looked {moment}: {report.sentence_of_result()}")
        return report

    def command(self, words: str) -> str:
        """Return a command line that reaches this stack, for the reader to type."""
        return command(words, self.home.path)

    @property
    def run(self) -> dict[str, Any]:
        """The present content of run.json. Raises ``UserError`` if the stack has ended."""
        info = read_run(self.home)
        if info is None:
            raise UserError(f"The demonstration's stack in {self.home.path} has ended: see its logs folder.")
        return info


@asynccontextmanager
async def demo_stack(home: Path, *, ports: str, keep: bool) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run a stack with the demonstration's settings.

    The stack is stopped at the end unless ``keep`` is set and all went well. Yields a function that waits for the
    processes that the first payment does not need.
    """
    if not keep:
        async with LocalStack(home, ports=ports, env=SETTINGS, later=LATER, profile=demo_profile()) as stack:
            yield stack.wait_all
        return
    os.environ.update(SETTINGS)
    words = ["up", "--ports", ports, "--home", str(home), *(["--movable-clock"] if demo_profile() is MOVABLE else [])]
    starting = asyncio.create_task(asyncio.to_thread(partial(detach_up, home, words, names=FIRST)))
    try:
        await asyncio.shield(starting)
        yield partial(_wait_complete, Home(home))
    except BaseException:
        # A thread can't be cancelled: without this wait the stack would come up after the demonstration was interrupted.
        await asyncio.wait({starting})
        if starting.exception() is None:  # else a stack that runs there is not ours
            await asyncio.to_thread(stop_other, Home(home))
        raise


def demo_profile() -> DatabaseProfile:
    """Return the database profile of the demonstration.

    The clock is movable, unless the user named a server: we don't move the clocks of the user's servers.
    """
    return ORDINARY if any(os.environ.get(name) for name in SERVERS_OF_THE_USERS) else MOVABLE


async def _wait_complete(home: Home) -> None:
    await asyncio.to_thread(wait_complete, home)

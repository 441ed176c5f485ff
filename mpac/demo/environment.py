"""The stage: a local stack for the demonstration, and its settings.

Without ``--keep`` the stack lives inside this process and dies with it. With ``--keep`` it is started in the background
as `mpac up --detach` does, so that it stays when we leave. Both tell where they are in ``run.json``, and only from there
does the demonstration know them.
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
from mpac.demo.retry import TimedOut, TransientFailure, retry_until_answered
from mpac.demo.screen import Screen
from mpac.stack.database_profile import MOVABLE, ORDINARY, SERVERS_OF_THE_USERS, DatabaseProfile
from mpac.stack.detach import detach_up, stop_other, wait_complete
from mpac.stack.home import Home, command
from mpac.stack.local import LocalStack
from mpac.stack.runfile import read_run

SETTINGS = {
    # A terminal's call to the provider is given up after 2 s (usually 10) …
    "MPAC_SANDBOX_TIMEOUT_SECONDS": "2",
    "MPAC_STATEMENT_TIMEOUT_MS": "2000",
    # … so a lease may be as short as the two together and a little more (usually 30 s): a killed worker is missed soon.
    "MPAC_LEASE_SECONDS": "4.5",
    "MPAC_NUDGE_GRACE_SECONDS": "2",
    # Questions about an unknown outcome after 0.2, 0.5, 1.5 s … instead of 2, 5, 15 s …
    "MPAC_DOUBT_SCHEDULE_SCALE": "0.1",
    # … and "not found" twice within 3 s proves that a call never arrived (usually 60): the sandbox takes 0.25 s at most.
    "MPAC_SANDBOX_MAX_PROCESSING_SECONDS": "3",
    # Settlements are looked for every 1.5 s instead of 15, and new stores get their first period within 6 s instead of 60.
    "MPAC_TIMETABLE_SCALE": "0.1",
    "MPAC_SANDBOX_MIN_LATENCY_MS": "80",
    "MPAC_SANDBOX_MAX_LATENCY_MS": "250",
}
IN_A_SENTENCE = (
    "So that you need not wait: a provider call is given up after 2 s instead of 10, a lease lasts 4.5 s instead of 30, "
    "and doubts are asked about ten times sooner than usual. The provider takes 80 to 250 ms for a call."
)

AUDIT_WITHIN_SECONDS = 60.0  # books that stay closed for longer are not opened by waiting

FIRST = ("sandbox", "api", "worker-payments-1")  # what the first payment needs …
LATER = ("worker-other", "beat", "flower")  # … and what it need not wait for


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """What the chapters play on."""

    home: Home
    screen: Screen
    seed: dict[str, Any]
    terminals: int
    seconds: float
    is_kept: bool
    wait_for_rest: Callable[[], Awaitable[None]]
    """Returns when what the first payment did not need is there too (``LATER``)."""
    audits: list[AuditReport] = field(default_factory=list)
    """What the auditors found, each time they looked."""

    async def audit(self, moment: str) -> AuditReport:
        """Have all auditors look, and tell what they find at this ``moment``. Raises ``UserError`` if they can't."""
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
            raise UserError(f"The auditors can't look: {late}.") from late
        self.audits.append(report)
        self.screen.say(f"The auditors looked {moment}: {report.sentence_of_result()}")
        return report

    def command(self, words: str) -> str:
        """A command that reaches this stage, for the reader to type."""
        return command(words, self.home.path)

    @property
    def run(self) -> dict[str, Any]:
        """run.json as it is now. Raises ``UserError`` where the stack is gone."""
        info = read_run(self.home)
        if info is None:
            raise UserError(f"The demonstration's stack in {self.home.path} has ended: see its logs folder.")
        return info


@asynccontextmanager
async def demo_stack(home: Path, *, ports: str, keep: bool) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A stack with the demonstration's settings; stopped at the end, unless it is to be kept and all went well.

    Yields what waits for the parts that the first payment does not need.
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
        yield partial(_complete, Home(home))
    except BaseException:
        # A thread is not cancelled: who interrupts the start would go, and the stack come up behind his back.
        await asyncio.wait({starting})
        if starting.exception() is None:  # else it is not ours that runs there, if one does
            await asyncio.to_thread(stop_other, Home(home))
        raise


def demo_profile() -> DatabaseProfile:
    """Where the demonstration plays: in a realm of its own, unless the user named servers, whose clocks we leave alone."""
    return ORDINARY if any(os.environ.get(name) for name in SERVERS_OF_THE_USERS) else MOVABLE


async def _complete(home: Home) -> None:
    await asyncio.to_thread(wait_complete, home)

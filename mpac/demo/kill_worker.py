"""Kill the payment worker with -9 while it processes payments, and watch the recovery.

No process is notified. The supervisor starts another worker. When the dead worker's leases run out, the sweep finds its
payments, and a worker claims them again. The provider is asked about charges that it may have received; none is simply sent
again. While the worker is dead the auditors run for the first time, because most payments are open then and a mistake is most
likely to show.
"""

import asyncio
import os
import signal
import time

from mpac.demo.environment import DemoEnvironment
from mpac.demo.queries import DemoQueries, PaymentClaim
from mpac.demo.retry import wait_until

WORKER = "worker-payments-1"
MAX_CLAIMED = 5  # payments that the worker should have claimed when it is killed, at most one for every …
TERMINALS_PER_CLAIMED = 4  # … terminals …
BUSY_WITHIN_SECONDS = 5.0  # … and how long to wait for that many
POLL_SECONDS = 0.02


async def kill_worker(demo: DemoEnvironment, queries: DemoQueries) -> None:
    """Kill the worker and print what follows.

    Raises ``TimedOut``, and ``UserError`` if the audit could not be made.
    """
    await _wait_until_busy(queries, enough=max(1, min(MAX_CLAIMED, demo.terminals // TERMINALS_PER_CLAIMED)))
    pid: int = demo.run["pids"][WORKER]
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    claimed = await queries.read_claims()  # the dead worker can no longer finish them
    demo.console.say(
        f"{WORKER} (pid {pid}) was killed with -9 while it held {len(claimed)} payments.",
        style="bold red",
    )
    looking = asyncio.create_task(demo.audit("while the worker was dead"))
    try:
        await _recover(demo, queries, claimed, pid=pid, killed_at=killed_at)
    except BaseException:
        looking.cancel()
        await asyncio.wait({looking})  # it returns its connections
        raise
    await looking


async def _recover(
    demo: DemoEnvironment, queries: DemoQueries, claimed: list[PaymentClaim], *, pid: int, killed_at: float
) -> None:
    other = await wait_until(
        lambda: _ready_pid(demo),
        lambda found: found not in (None, pid),
        what=f"another process for {WORKER}",
        counted="process",
        every=POLL_SECONDS,
    )
    demo.console.say(f"The supervisor started {WORKER} again (pid {other}) {time.monotonic() - killed_at:.1f} s later.")
    if not claimed:
        return
    await wait_until(
        lambda: queries.read_unrecovered(claimed),
        lambda left: not left,
        what="payments that the killed worker held were not claimed again",
        counted="payment",
        every=POLL_SECONDS,
    )
    demo.console.say(
        f"All {len(claimed)} were claimed again {time.monotonic() - killed_at:.1f} s after the kill, as soon as their leases "
        "had run out. The provider is asked about charges that it may have received; none is simply sent again.",
        style="green",
    )


async def _wait_until_busy(queries: DemoQueries, *, enough: int) -> None:
    deadline = time.monotonic() + BUSY_WITHIN_SECONDS
    while len(await queries.read_claims()) < enough and time.monotonic() < deadline:  # noqa: ASYNC110 - a database has no Event
        await asyncio.sleep(POLL_SECONDS)


async def _ready_pid(demo: DemoEnvironment) -> int | None:
    info = demo.run
    pid: int | None = info["pids"].get(WORKER)
    return pid if WORKER in info["ready"] else None

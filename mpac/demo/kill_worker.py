"""Kill the payment worker with -9 while it processes payments, and watch the recovery.

Nothing is notified. The supervisor starts another process; the dead one's leases run out; the sweep finds the payments; they
are claimed again; and the provider is asked about what it may have received, which is not sent again. While the worker is dead
the auditors run for the first time: then the most payments are open, and a mistake would be most likely.
"""

import asyncio
import os
import signal
import time

from mpac.demo.environment import DemoEnvironment
from mpac.demo.queries import HeldPayment, Records
from mpac.demo.retry import wait_until

WORKER = "worker-payments-1"
MOST_WORTH_IT = 5  # payments that the worker should hold when it is killed, at most one for every …
TERMINALS_PER_HELD = 4  # … terminals …
WAIT_FOR_THEM_SECONDS = 5.0  # … and how long to wait for that many
LOOK_EVERY_SECONDS = 0.02


async def kill_worker(demo: DemoEnvironment, records: Records) -> None:
    """Kill it and print what follows. Raises ``TimedOut``, and ``UserError`` if the audit could not be made."""
    await _busy_moment(records, worth_it=max(1, min(MOST_WORTH_IT, demo.terminals // TERMINALS_PER_HELD)))
    pid: int = demo.run["pids"][WORKER]
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    held = await records.held()  # the dead worker can't finish them any more
    demo.screen.say(
        f"{WORKER} (pid {pid}) was killed with -9 while it held {len(held)} payments.",
        style="bold red",
    )
    looking = asyncio.create_task(demo.audit("while the worker was dead"))
    try:
        await _recover(demo, records, held, pid=pid, killed_at=killed_at)
    except BaseException:
        looking.cancel()
        await asyncio.wait({looking})  # it returns its connections
        raise
    await looking


async def _recover(
    demo: DemoEnvironment, records: Records, held: list[HeldPayment], *, pid: int, killed_at: float
) -> None:
    other = await wait_until(
        lambda: _ready_pid(demo),
        lambda found: found not in (None, pid),
        what=f"another process for {WORKER}",
        counted="process",
        every=LOOK_EVERY_SECONDS,
    )
    demo.screen.say(f"The supervisor started {WORKER} again (pid {other}) {time.monotonic() - killed_at:.1f} s later.")
    if not held:
        return
    await wait_until(
        lambda: records.still_held(held),
        lambda left: not left,
        what="payments that the killed worker held were not claimed again",
        counted="payment",
        every=LOOK_EVERY_SECONDS,
    )
    demo.screen.say(
        f"All {len(held)} were claimed again {time.monotonic() - killed_at:.1f} s after the kill, as soon as their leases "
        "had run out. The provider is asked about charges that it may have received; none is simply sent again.",
        style="green",
    )


async def _busy_moment(records: Records, *, worth_it: int) -> None:
    deadline = time.monotonic() + WAIT_FOR_THEM_SECONDS
    while len(await records.held()) < worth_it and time.monotonic() < deadline:  # noqa: ASYNC110 - a database has no Event
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _ready_pid(demo: DemoEnvironment) -> int | None:
    info = demo.run
    pid: int | None = info["pids"].get(WORKER)
    return pid if WORKER in info["ready"] else None

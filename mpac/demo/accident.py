"""The accident: the payment worker is killed with -9 while it has payments in its hands.

Nobody is told. The supervisor starts another process; the dead one's leases run out; the sweep finds the payments; they
are claimed anew; and what a provider may have heard of is asked about, not sent again.
"""

import asyncio
import os
import signal
import time

from mpac.demo.records import Held, Records
from mpac.demo.stage import Stage

WORKER = "worker-payments-1"
WORTH_IT = 5  # payments in hand that make the accident a real one …
WAIT_FOR_THEM_SECONDS = 5.0  # … and how long to wait for that many
LOOK_EVERY_SECONDS = 0.02
GIVE_UP_AFTER_SECONDS = 60.0


async def kill_worker(stage: Stage, records: Records) -> list[str]:
    """Kill it, tell what happens then; returns sentences about what went wrong."""
    pid: int = stage.run["pids"][WORKER]
    await _busy_moment(records)
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    held = await records.held()  # nothing can let go of them any more
    stage.screen.say(
        f"{WORKER} (pid {pid}) was killed with -9 while it held {len(held)} payments.",
        style="bold red",
    )
    other = await _other_process(stage, pid)
    if other is None:
        return [f"{WORKER} was not started again after it was killed"]
    stage.screen.say(f"The supervisor started {WORKER} again (pid {other}) {time.monotonic() - killed_at:.1f} s later.")
    if not held:
        return []
    left = await _taken_up(records, held)
    if left:
        return [f"{len(left)} payments that the killed worker held were never taken up again, first {left[0].id}"]
    stage.screen.say(
        f"All {len(held)} were taken up again {time.monotonic() - killed_at:.1f} s after the kill, as soon as their leases "
        "had run out. What the provider may have heard of is asked about and never simply sent again.",
        style="green",
    )
    return []


async def _busy_moment(records: Records) -> None:
    deadline = time.monotonic() + WAIT_FOR_THEM_SECONDS
    while len(await records.held()) < WORTH_IT and time.monotonic() < deadline:  # noqa: ASYNC110 - a database has no Event
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _other_process(stage: Stage, killed: int) -> int | None:
    deadline = time.monotonic() + GIVE_UP_AFTER_SECONDS
    while time.monotonic() < deadline:
        info = stage.run
        pid: int | None = info["pids"].get(WORKER)
        if pid not in (None, killed) and WORKER in info["ready"]:
            return pid
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    return None


async def _taken_up(records: Records, held: list[Held]) -> list[Held]:
    deadline = time.monotonic() + GIVE_UP_AFTER_SECONDS
    left = held
    while left and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        left = await records.still_held(left)
    return left

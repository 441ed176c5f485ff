"""Provide a stack whose workers crash at a named point.

Payments and refunds are created over real HTTP.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import uuid_utils

from mpac.devtools.terminal import Terminal
from mpac.stack.local_stack import LocalStack
from mpac.stack.probes import READY_FILE_VARIABLE
from mpac.stack.state_folder import ROOT
from tests.auditing import assert_auditors_find_nothing
from tests.chaos.crashing_worker import ORDER_VARIABLE, rows_of_crash
from tests.chaos.queues import broker_of, wait_until_queued
from tests.live_stack import TRIES, nudge
from tests.polling import eventually
from tests.watched_stack import WatchedStack

SERVICES = ("postgres", "valkey", "sandbox", "api", "beat")
SETTINGS = {
    "MPAC_SANDBOX_TIMEOUT_SECONDS": "1",
    "MPAC_STATEMENT_TIMEOUT_MS": "1000",
    "MPAC_LEASE_SECONDS": "2.5",  # longer than both timeouts together, but hardly longer
    "MPAC_NUDGE_GRACE_SECONDS": "1",
    "MPAC_DOUBT_SCHEDULE_SCALE": "0.1",
    "MPAC_SANDBOX_MAX_PROCESSING_SECONDS": "1",
    "MPAC_SANDBOX_MIN_LATENCY_MS": "150",  # leaves time between a request and its answer
    "MPAC_SANDBOX_MAX_LATENCY_MS": "250",
}
LEASE_SECONDS = 2.5
BOUND_SECONDS = LEASE_SECONDS + 30  # F1: processed again within lease + 30 s
START_SECONDS = 40
WORKERS = ("first", "second", "third")
AT_ONCE = len(WORKERS) - 1
"""The number of workers that may be dead at the same time."""
LOOK_EVERY_SECONDS = 0.05
FINAL = ("completed", "failed", "cancelled", "refunded")

CreateRow = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Killed:
    """A payment or refund whose worker was just killed. ``ends_well`` waits until the row is final, and checks it."""

    ends_well: Callable[[], Awaitable[None]]
    at: float = field(default_factory=time.monotonic)

    async def check(self) -> float:
        """Run ``ends_well``; return the seconds from the kill until the row was final and checked."""
        await self.ends_well()
        return time.monotonic() - self.at


@dataclass
class CrashStack:
    """A local stack with three workers that may crash, and a client for the API."""

    stack: WatchedStack
    folder: Path
    terminal: Terminal
    session: aiohttp.ClientSession
    workers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _manager: str = ""

    @property
    def order_to_crash(self) -> Path:
        """Return the path of the file that names the point at which ``crashing_worker`` is to crash."""
        return self.folder / "crash-at"

    async def start_worker(self, name: str) -> None:
        """Start a worker and wait until it consumes messages."""
        ready = self.folder / name
        ready.unlink(missing_ok=True)
        variables = {
            **self.stack.environment,
            ORDER_VARIABLE: str(self.order_to_crash),
            READY_FILE_VARIABLE: str(ready),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore:You're running the worker",
        }
        self.workers[name] = _start(name, folder=self.folder, variables=variables)
        async with asyncio.timeout(START_SECONDS):
            while not ready.exists() and name not in self.killed():  # the worker may reach its point before it is ready
                assert self.workers[name].poll() is None, (self.folder / f"{name}.log").read_text()[-2_000:]
                await asyncio.sleep(LOOK_EVERY_SECONDS)

    def killed(self) -> list[str]:
        """Return the names of workers that were killed and not restarted yet."""
        return [name for name, process in self.workers.items() if process.poll() == -signal.SIGKILL]

    def unexpected_ends(self) -> list[str]:
        """Return the processes of the stack, and the workers, that ended although no test killed them."""
        ends = {name: process.poll() for name, process in self.workers.items()}
        crashed = [f"{name} ended with {code}" for name, code in ends.items() if code not in (None, -signal.SIGKILL)]
        return [*self.stack.unexpected_ends, *crashed]

    async def kill_all(self) -> None:
        """Kill every worker, so that no messages are consumed."""
        for process in self.workers.values():
            process.kill()
        for process in self.workers.values():
            await asyncio.to_thread(process.wait)

    async def restart_killed(self) -> None:
        """Restart the killed workers and wait until they consume messages."""
        await asyncio.gather(*(self.start_worker(name) for name in self.killed()))

    async def crash_at_each(self, points: Sequence[str], run: Callable[[str], Awaitable[Killed]]) -> list[float]:
        """Kill a worker at each of ``points``, two at a time.

        Return the seconds from each kill until the row was final and checked. ``run`` creates a payment or
        refund, has its worker killed (``crash_with``), and returns the check to run afterwards.
        """
        seconds = []
        for start in range(0, len(points), AT_ONCE):
            killed = [await run(point) for point in points[start : start + AT_ONCE]]
            restarting = asyncio.create_task(self.restart_killed())
            seconds += await asyncio.gather(*(one.check() for one in killed))
            await restarting
        return seconds

    async def crash_with(self, point: str, create_row: CreateRow) -> dict[str, Any]:
        """Create a row with ``create_row`` and kill its worker at ``point``; return the created row.

        A redelivered message of an earlier kill may make a worker crash over another row. Then ``create_row`` is called again.
        """
        for _ in range(TRIES):
            dead = len(self.killed())
            self.order_to_crash.write_text(point)
            created = await create_row()
            in_progress = await self._rows_of_crashed(point, dead=dead)
            if created["id"] in in_progress:
                return created
            await self.restart_killed()
        raise AssertionError(f"the worker that crashed at {point} was processing another row, {TRIES} times")

    async def crash_with_all(self, point: str, creators: Sequence[CreateRow]) -> list[dict[str, Any]]:
        """Create a row with each of ``creators``, and kill a worker at ``point`` while it processes all rows.

        Return the rows. They are created while no worker consumes messages, and their messages are deleted, so that the
        sweep sends all ids in one message.
        """
        await self.kill_all()
        created = list(await asyncio.gather(*(create_row() for create_row in creators)))
        queue = f"{point.partition(':')[0]}s"
        async with broker_of(self.stack) as broker:
            await wait_until_queued(broker, queue, [row["id"] for row in created])
            await broker.delete(queue)
        self.order_to_crash.write_text(point)
        await self.restart_killed()
        await self._rows_of_crashed(point, dead=0)
        return created

    async def _rows_of_crashed(self, point: str, *, dead: int) -> list[str]:
        """Wait until a worker has crashed at ``point``; return the ids of the rows that it was processing.

        ``dead`` is the number of workers that were dead before.
        """
        deadline = time.monotonic() + BOUND_SECONDS
        while len(self.killed()) == dead:
            assert time.monotonic() < deadline, f"no worker reached {point}"
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        return list(json.loads(rows_of_crash(self.order_to_crash).read_text()))

    async def inquiries(self, entity: str, row_id: str) -> int:
        """Return how often the provider was asked for the outcome of a payment or a refund."""
        query = f"SELECT count(*) FROM {entity}_messages WHERE {entity}_id = %s AND kind = 'inquiry'"
        async with await psycopg.AsyncConnection.connect(self.stack.urls.database) as connection:
            found = await (await connection.execute(query.encode(), [row_id])).fetchone()
        assert found
        return int(found[0])

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a POST that must be accepted, and return the body of its answer."""
        answer = await self.terminal.call("POST", path, body=body, key=uuid_utils.uuid7().hex)
        assert answer.status == 201, answer.body
        return dict(answer.body)

    async def final(self, path: str) -> dict[str, Any]:
        """Wait until the resource at ``path`` is final, at most for the promised bound, and return it."""
        deadline = time.monotonic() + BOUND_SECONDS
        while True:
            body = dict((await self.terminal.call("GET", path)).body)
            if body["status"] in FINAL:
                return body
            assert time.monotonic() < deadline, body
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def paid(self) -> str:
        """Create a completed payment of 1,000 yen at the sandbox provider, and return its id."""
        payment = await self.post("/payments", {"amount": 1_000, "method": {"type": "qr", "mode": "cpm"}})
        assert (await self.final(f"/payments/{payment['id']}"))["status"] == "completed"
        return str(payment["id"])

    async def movements(self, payment_id: str) -> list[tuple[str, int]]:
        """Return the kind and amount of each movement of a payment in the provider's ledger."""
        headers = {"Authorization": f"Bearer {self.stack.control_key}"}
        url = f"{self.stack.urls.sandbox}/control/ledger/{payment_id}"
        async with self.session.get(url, headers=headers) as answer:
            return [(row["kind"], row["amount"]) for row in (await answer.json())["data"]]

    async def close_the_day(self) -> None:
        """Close every open settlement as the store's manager, so that all balances can be compared."""
        if not self._manager:
            printed = await asyncio.to_thread(run_mpac, self.stack, "token", "--role", "store_manager")
            self._manager = printed.split()[-1]
        headers = {"Authorization": f"Bearer {self._manager}"}
        settlements = f"{self.stack.urls.api}/api/v1/settlements"
        await asyncio.to_thread(nudge, self.stack, "settlements.open_due")  # beat would send it, within its minute
        open_now = await eventually(
            lambda: self._open_settlements(settlements, headers), until=bool, within=BOUND_SECONDS
        )
        for settlement in open_now:
            async with self.session.post(f"{settlements}/{settlement['id']}/close", headers=headers) as answer:
                assert answer.status == 200, await answer.text()

    async def _open_settlements(self, url: str, headers: dict[str, str]) -> list[dict[str, Any]]:
        async with self.session.get(f"{url}?status=open", headers=headers) as answer:
            return list((await answer.json())["data"])

    async def audit(self) -> None:
        """Close the business day, and assert that no auditor reports anything."""
        await self.close_the_day()
        await assert_auditors_find_nothing(self.stack)


def _start(name: str, *, folder: Path, variables: dict[str, str]) -> "subprocess.Popen[bytes]":
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.crashing_worker", f"{name}@test"],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def run_mpac(stack: LocalStack, *words: str) -> str:
    """Run an `mpac` command for this stack and return its output."""
    command = [sys.executable, "-m", "mpac", *words, "--home", str(stack.home.path)]
    variables = {**os.environ, **stack.environment}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    return done.stdout


@asynccontextmanager
async def crash_stack(folder: Path) -> AsyncIterator[CrashStack]:
    """Start a stack with three workers: while two are dead, the third continues."""
    folder.mkdir()  # noqa: ASYNC240 - nothing else runs in this loop yet
    # Remove variables that point at the servers of other tests of this process.
    apart = dict.fromkeys((name for name in os.environ if name.startswith("MPAC_")), "")
    async with WatchedStack(folder / "home", services=SERVICES, env={**apart, **SETTINGS}, durable=False) as stack:
        seed = json.loads(await asyncio.to_thread(run_mpac, stack, "seed", "--json"))
        async with aiohttp.ClientSession() as session:
            terminal = Terminal(stack.urls.api, seed["devices"][0], session=session)
            crashing = CrashStack(stack, folder, terminal, session)
            try:
                await asyncio.gather(*(crashing.start_worker(name) for name in WORKERS))
                yield crashing
            finally:
                for process in crashing.workers.values():
                    process.kill()
                    process.wait()

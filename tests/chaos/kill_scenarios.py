"""A stack whose workers die on command, with payments and refunds on it over real HTTP."""

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

from mpac.audit.provider import audit_payments
from mpac.devtools.terminal import Terminal
from mpac.stack.home import ROOT
from mpac.stack.local import LocalStack
from mpac.stack.probes import READY_FILE_VARIABLE
from tests.chaos.crashing_worker import died_over
from tests.chaos.queues import broker_of, queued
from tests.live_stack import TRIES, nudge
from tests.polling import eventually

SERVICES = ("postgres", "valkey", "sandbox", "api", "beat")
SETTINGS = {
    "MPAC_SANDBOX_TIMEOUT_SECONDS": "1",
    "MPAC_STATEMENT_TIMEOUT_MS": "1000",
    "MPAC_LEASE_SECONDS": "2.5",  # longer than the two together, and as short as that allows
    "MPAC_NUDGE_GRACE_SECONDS": "1",
    "MPAC_DOUBT_SCHEDULE_SCALE": "0.1",
    "MPAC_SANDBOX_MAX_PROCESSING_SECONDS": "1",
    "MPAC_SANDBOX_MIN_LATENCY_MS": "150",  # so that there is a moment between a request and its answer
    "MPAC_SANDBOX_MAX_LATENCY_MS": "250",
}
LEASE_SECONDS = 2.5
BOUND_SECONDS = LEASE_SECONDS + 30  # F1: taken up again within lease + 30 s
START_SECONDS = 40
LOOK_EVERY_SECONDS = 0.05
FINAL = ("completed", "failed", "cancelled", "refunded")

Order = Callable[[], Awaitable[dict[str, Any]]]


@dataclass
class CrashStack:
    """The stack, two workers that may die, and a terminal."""

    stack: LocalStack
    folder: Path
    terminal: Terminal
    session: aiohttp.ClientSession
    workers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def last_words(self) -> Path:
        """Where a worker is told to die (``dying_worker``)."""
        return self.folder / "last-words"

    async def start_worker(self, name: str) -> None:
        """Start a worker and wait until it consumes."""
        ready = self.folder / name
        ready.unlink(missing_ok=True)
        variables = {
            **self.stack.environment,
            "MPAC_TEST_LAST_WORDS": str(self.last_words),
            READY_FILE_VARIABLE: str(ready),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore:You're running the worker",
        }
        self.workers[name] = _start(name, folder=self.folder, variables=variables)
        async with asyncio.timeout(START_SECONDS):
            while not ready.exists() and name not in self.fallen():  # it may come to its point that soon
                assert self.workers[name].poll() is None, (self.folder / f"{name}.log").read_text()[-2_000:]
                await asyncio.sleep(LOOK_EVERY_SECONDS)

    def fallen(self) -> list[str]:
        """The workers that were killed."""
        return [name for name, process in self.workers.items() if process.poll() == -signal.SIGKILL]

    async def fell_all(self) -> None:
        """Kill every worker: nobody consumes any more."""
        for process in self.workers.values():
            process.kill()
        for process in self.workers.values():
            await asyncio.to_thread(process.wait)

    async def raise_the_fallen(self) -> None:
        """Start them again and wait until they consume."""
        await asyncio.gather(*(self.start_worker(name) for name in self.fallen()))

    async def dies_over(self, point: str, order: Order) -> dict[str, Any]:
        """What was ordered and had a worker killed at ``point`` while it was in that worker's hands.

        A message of an earlier kill may come back just then, and a worker die over that one: then it is ordered once more.
        """
        for _ in range(TRIES):
            self.last_words.write_text(point)
            ordered = await order()
            dead = await self._somebody_dead(point)
            if ordered["id"] in dead:
                return ordered
            await self.raise_the_fallen()
        raise AssertionError(f"whoever died at {point} had another in hand, {TRIES} times")

    async def dies_over_all(self, point: str, orders: Sequence[Order]) -> list[dict[str, Any]]:
        """What was ordered, all of it in the hands of a worker that was killed at ``point`` of the first of them.

        It is ordered while nobody consumes and its messages are lost: the sweep brings all of it in one message.
        """
        await self.fell_all()
        ordered = list(await asyncio.gather(*(order() for order in orders)))
        queue = f"{point.partition(':')[0]}s"
        async with broker_of(self.stack) as broker:
            await queued(broker, queue, [one["id"] for one in ordered])
            await broker.delete(queue)
        self.last_words.write_text(point)
        await self.raise_the_fallen()
        await self._somebody_dead(point)
        return ordered

    async def _somebody_dead(self, point: str) -> list[str]:
        """The rows that a worker had in hand when it died at ``point``."""
        deadline = time.monotonic() + BOUND_SECONDS
        while not self.fallen():
            assert time.monotonic() < deadline, f"nobody came to {point}"
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        return list(json.loads(died_over(self.last_words).read_text()))

    async def asked_about(self, entity: str, row_id: str) -> int:
        """How often the provider was asked what had become of a payment or a refund."""
        query = f"SELECT count(*) FROM {entity}_messages WHERE {entity}_id = %s AND kind = 'inquiry'"
        async with await psycopg.AsyncConnection.connect(self.stack.urls.database) as connection:
            found = await (await connection.execute(query.encode(), [row_id])).fetchone()
        assert found
        return int(found[0])

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A POST that must be accepted."""
        answer = await self.terminal.call("POST", path, body=body, key=uuid_utils.uuid7().hex)
        assert answer.status == 201, answer.body
        return dict(answer.body)

    async def final(self, path: str) -> dict[str, Any]:
        """What is at ``path`` as soon as it is final, within the bound."""
        deadline = time.monotonic() + BOUND_SECONDS
        while True:
            body = dict((await self.terminal.call("GET", path)).body)
            if body["status"] in FINAL:
                return body
            assert time.monotonic() < deadline, body
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def paid(self) -> str:
        """A completed payment of 1,000 yen at the sandbox."""
        payment = await self.post("/payments", {"amount": 1_000, "method": {"type": "qr", "mode": "cpm"}})
        assert (await self.final(f"/payments/{payment['id']}"))["status"] == "completed"
        return str(payment["id"])

    async def moved(self, payment_id: str) -> list[tuple[str, int]]:
        """What the provider's own ledger says of a payment."""
        headers = {"Authorization": f"Bearer {self.stack.control_key}"}
        url = f"{self.stack.urls.sandbox}/control/ledger/{payment_id}"
        async with self.session.get(url, headers=headers) as answer:
            return [(row["kind"], row["amount"]) for row in (await answer.json())["data"]]

    async def close_the_day(self) -> None:
        """The manager closes what is open, so that all books can be added up."""
        told = await asyncio.to_thread(self._mpac, "token", "--role", "store_manager")
        headers = {"Authorization": f"Bearer {told.split()[-1]}"}
        settlements = f"{self.stack.urls.api}/api/v1/settlements"
        await asyncio.to_thread(nudge, self.stack, "settlements.open_due")  # beat would, within its minute
        open_now = await eventually(
            lambda: self._open_settlements(settlements, headers), until=bool, within=BOUND_SECONDS
        )
        for settlement in open_now:
            async with self.session.post(f"{settlements}/{settlement['id']}/close", headers=headers) as answer:
                assert answer.status == 200, await answer.text()

    async def _open_settlements(self, url: str, headers: dict[str, str]) -> list[dict[str, Any]]:
        async with self.session.get(f"{url}?status=open", headers=headers) as answer:
            return list((await answer.json())["data"])

    async def judge(self) -> None:
        """The day is closed, and all judges find everything in order: the provider's ledger, the invariants, the sums."""
        await self.close_the_day()
        urls = self.stack.urls
        key = self.stack.control_key
        ledger = await audit_payments(database_url=urls.database, sandbox_url=urls.sandbox, control_key=key)
        told = json.loads(await asyncio.to_thread(self._mpac, "invariants", "--json"))
        problems = [*ledger.broken, *(rule for rule in told["rules"] if rule["count"])]
        assert not problems, f"the auditors found: {problems}"

    def _mpac(self, *words: str) -> str:
        return run_mpac(self.stack, *words)


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
    """What a word of the command line prints for this stack."""
    command = [sys.executable, "-m", "mpac", *words, "--home", str(stack.home.path)]
    variables = {**os.environ, **stack.environment}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    return done.stdout


@asynccontextmanager
async def crash_stack(folder: Path) -> AsyncIterator[CrashStack]:
    """Everything up, with two workers: while one is dead the other goes on."""
    # Another test of this process may have servers of its own in the environment; this stack is apart from them.
    apart = dict.fromkeys((name for name in os.environ if name.startswith("MPAC_")), "")
    async with LocalStack(folder / "home", services=SERVICES, env={**apart, **SETTINGS}, durable=False) as stack:
        seed = json.loads(await asyncio.to_thread(run_mpac, stack, "seed", "--json"))
        async with aiohttp.ClientSession() as session:
            terminal = Terminal(stack.urls.api, seed["devices"][0], session=session)
            crashing = CrashStack(stack, folder, terminal, session)
            try:
                await asyncio.gather(*(crashing.start_worker(name) for name in ("first", "second")))
                yield crashing
            finally:
                for process in crashing.workers.values():
                    process.kill()
                    process.wait()

"""Run a stack of real processes for end-to-end and chaos tests, with a client, the provider's controls, and the auditors.

Timeouts are short here (a lease of 4 s, inquiries at a tenth of their delays), so that a test sees within seconds what an
installation sees within minutes. Promises that are made in leases and sweeps therefore hold within seconds, too.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from celery import Celery
from kombu.entity import Exchange, Queue
from psycopg.rows import dict_row

from mpac.cli.errors import UserError
from mpac.stack.local_stack import LocalStack
from tests.auditing import assert_auditors_find_nothing
from tests.factories import Signer, Tenant
from tests.harness import Answer, Api
from tests.polling import eventually
from tests.watched_stack import WatchedStack
from workflows.ids import new_id

LEASE_SECONDS = 4.0
SHORT_TIMEOUTS = {
    "MPAC_LEASE_SECONDS": str(LEASE_SECONDS),
    "MPAC_SANDBOX_TIMEOUT_SECONDS": "2",
    "MPAC_STATEMENT_TIMEOUT_MS": "1500",
    "MPAC_NUDGE_GRACE_SECONDS": "1",
    "MPAC_DOUBT_SCHEDULE_SCALE": "0.1",
    "MPAC_SANDBOX_MAX_PROCESSING_SECONDS": "3",
    "MPAC_SOFT_SHUTDOWN_SECONDS": "5",
    "MPAC_SANDBOX_MIN_LATENCY_MS": "5",
    "MPAC_SANDBOX_MAX_LATENCY_MS": "10",
}
FINAL = ("completed", "failed", "cancelled", "refunded")
RECOVERY_SECONDS = 60.0  # F4, F5: within this time everything must be processed again without intervention
TRIES = 10  # attempts to catch a worker while it processes a row; the first one nearly always succeeds
WITHOUT_FLOWER = ("postgres", "valkey", "sandbox", "api", "worker", "beat")


def nudge(stack: LocalStack, task: str, *arguments: Any) -> None:
    """Send a task message through a stack's broker."""
    queue = task.partition(".")[0]
    app = Celery(broker=stack.urls.broker, set_as_current=False)
    app.conf.task_queues = [Queue(queue, Exchange(queue, type="direct"), routing_key=queue)]
    app.send_task(task, args=arguments, queue=queue, ignore_result=True)
    app.close()


class LiveStack:
    """A running stack, with a tenant and a client for the API."""

    def __init__(self, stack: WatchedStack, api: Api, session: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.api = api
        self.tenant = Tenant(new_id("psp"), new_id("merchant"), new_id("store"), "")
        self.staff = api.signer.user(self.tenant)
        self._session = session

    async def add_tenant(self) -> None:
        """Create the tenant, with the sandbox provider enabled at its store."""
        mine = self.tenant
        await self.sql("INSERT INTO psps (id, name) VALUES (%s, 'A PSP')", mine.psp_id)
        await self.sql("INSERT INTO merchants VALUES (%s, %s, 'm', now(), now())", mine.merchant_id, mine.psp_id)
        await self.sql(
            "INSERT INTO stores (id, merchant_id, name, currency, time_zone, cut_off, created_at, updated_at)"
            " VALUES (%s, %s, 's', 'JPY', 'Asia/Tokyo', '00:00', now(), now())",
            mine.store_id,
            mine.merchant_id,
        )
        await self.sql(
            "INSERT INTO store_providers VALUES (%s, %s, %s, 'sandbox', '{card,qr}', 1, true, null, now(), now())",
            new_id("store_provider"),
            mine.merchant_id,
            mine.store_id,
        )

    async def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run a statement as the database's owner on a new connection, and return its rows."""
        async with await psycopg.AsyncConnection.connect(
            self.stack.urls.database, autocommit=True, row_factory=dict_row, connect_timeout=5
        ) as connection:
            cursor = await connection.execute(statement.encode(), values)
            # ``SELECT FROM`` has rows without columns, so its description is empty; a statement without rows has none.
            return await cursor.fetchall() if cursor.description is not None else []

    async def sandbox(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a control request to the provider."""
        url, headers = self.stack.urls.sandbox + path, {"Authorization": f"Bearer {self.stack.control_key}"}
        async with self._session.request(method, url, json=body, headers=headers) as answer:
            raw = await answer.read()
            parsed = await answer.json() if answer.content_type == "application/json" else None
            return Answer(answer.status, parsed, raw, answer.headers)

    async def faults(self, **rates: float) -> None:
        """Set the provider's rates of faults for calls that name no fate.

        The rates apply until ``DELETE /control/faults``.
        """
        answer = await self.sandbox("PUT", "/control/faults", {"seed": 7, "rates": rates})
        assert answer.status == 200, answer.raw

    async def charges(self, payment_id: str) -> list[int]:
        """Return the amounts that the provider charged for a payment, read from the provider's ledger."""
        ledger = (await self.sandbox("GET", f"/control/ledger/{payment_id}")).body["data"]
        return [entry["amount"] for entry in ledger if entry["kind"] == "charge"]

    async def pay(self, *, fate: str | None = None, **fields: Any) -> str:
        """Submit a QR payment, which the provider charges with the given ``fate``, and return its id."""
        body = {"method": {"type": "qr", "mode": "cpm"}, **({"metadata": {"sandbox": fate}} if fate else {}), **fields}
        answer = await self.api.pay(self.staff, **body)
        assert answer.status == 201, answer.raw
        payment_id: str = answer.body["id"]
        return payment_id

    async def pay_many(self, count: int, *, fate: str | None = None, at_once: int = 50) -> list[str]:
        """Submit ``count`` payments, ``at_once`` requests at a time, and return their ids."""
        gate = asyncio.Semaphore(at_once)

        async def one() -> str:
            async with gate:
                return await self.pay(fate=fate)

        return list(await asyncio.gather(*(one() for _ in range(count))))

    async def submit_until_claimed(self, count: int, *, fate: str) -> list[str]:
        """Submit ``count`` payments and wait until all are claimed; return their ids.

        At that moment the provider has yet to answer some of them; if it has answered all, other payments are submitted.
        """
        for _ in range(TRIES):
            ids = await self.pay_many(count, fate=fate)
            seen = await eventually(
                partial(self.statuses, ids), until=lambda seen: not seen["pending"], within=RECOVERY_SECONDS
            )
            if seen["processing"]:
                return ids
        raise AssertionError(f"{count} payments were answered before the test looked, {TRIES} times")

    async def row(self, payment_id: str) -> dict[str, Any]:
        """Return the database row of a payment."""
        (row,) = await self.sql("SELECT * FROM payments WHERE id = %s", payment_id)
        return row

    async def statuses(self, ids: Collection[str]) -> Counter[str]:
        """Count the payments ``ids`` by status."""
        rows = await self.sql("SELECT status FROM payments WHERE id = ANY(%s)", list(ids))
        return Counter(row["status"] for row in rows)

    async def final_statuses(self, ids: Iterable[str], *, within: float = RECOVERY_SECONDS) -> Counter[str]:
        """Wait until all payments ``ids`` are final, and count them by status."""
        wanted = list(ids)
        return await eventually(
            lambda: self.statuses(wanted),
            until=lambda seen: sum(seen[status] for status in FINAL) == len(wanted),
            within=within,
        )

    async def wait_for_status(
        self, payment_id: str, status: str, *, within: float = RECOVERY_SECONDS
    ) -> dict[str, Any]:
        """Wait until a payment is in ``status``, and return its row."""
        return await eventually(lambda: self.row(payment_id), until=lambda row: row["status"] == status, within=within)

    async def holder(self, payment_id: str) -> str:
        """Return the stack's name of the process that claimed a payment."""
        rows = await self.sql(
            "SELECT caller_id FROM payment_history WHERE payment_id = %s AND event = 'claim'", payment_id
        )
        name: str = rows[0]["caller_id"]
        return name.partition("@")[0]

    async def messages(self, payment_id: str) -> list[str]:
        """Return the kinds of messages that were exchanged about a payment's attempts, in order."""
        rows = await self.sql("SELECT kind FROM payment_messages WHERE payment_id = %s ORDER BY number", payment_id)
        return [row["kind"] for row in rows]

    async def events(self, ids: Collection[str]) -> Counter[str]:
        """Count the history events of the payments ``ids`` by name."""
        rows = await self.sql("SELECT event FROM payment_history WHERE payment_id = ANY(%s)", list(ids))
        return Counter(row["event"] for row in rows)

    async def close_the_day(self) -> dict[str, Any]:
        """Close the running settlement over HTTP as the store's manager, and return the closed settlement."""
        manager = self.api.signer.user(self.tenant, role="store_manager")
        look = partial(self.api.get, "/settlements?status=open", as_=manager)
        while True:
            # After a restart of the database, the first use of each old connection is answered 503, as the contract says.
            listed = await eventually(look, until=lambda answer: answer.status == 200, within=RECOVERY_SECONDS)
            if not listed.body["data"]:
                await asyncio.to_thread(nudge, self.stack, "settlements.open_due")  # beat would, within its minute
                listed = await eventually(look, until=lambda answer: bool(answer.body["data"]), within=RECOVERY_SECONDS)
            close = partial(self.api.post, f"/settlements/{listed.body['data'][0]['id']}/close", as_=manager)
            closed = await eventually(close, until=lambda answer: answer.status != 503, within=RECOVERY_SECONDS)
            if closed.status != 409:  # otherwise beat closed it first, at midnight: the next period is running
                break
        assert closed.status == 200, closed.raw
        body: dict[str, Any] = closed.body
        return body

    def nudge(self, task: str, *arguments: Any) -> None:
        """Send a task message through the broker, as beat and the API do."""
        nudge(self.stack, task, *arguments)

    async def audit(self) -> None:
        """Assert that no auditor reports anything."""
        await assert_auditors_find_nothing(self.stack)

    def workers(self) -> list[str]:
        """Return the names of the living workers for payments."""
        return [name for name in self.stack.pids if name.startswith("worker-payments")]

    async def restore(self) -> None:
        """Restore the stack: restart dead processes, continue stopped ones, and remove the provider's faults."""
        for pid in self.stack.pids.values():
            with suppress(ProcessLookupError):  # the process has died, and the supervisor has not noticed yet
                os.kill(pid, signal.SIGCONT)
        for name in self.stack.info()["names"]:
            if name != "migrate":
                await self._runs(name)
        await self.sandbox("DELETE", "/control/faults")

    async def _runs(self, name: str) -> None:
        if name not in self.stack.pids:
            with suppress(UserError):  # the supervisor is starting it at this moment
                await self.stack.start(name)
        await self.stack.wait_ready(name)


@asynccontextmanager
async def live_stack(
    home: Path,
    *,
    services: Collection[str],
    workers: int = 1,
    env: Mapping[str, str] | None = None,
    restart: bool = True,
    durable: bool = False,
) -> AsyncIterator[LiveStack]:
    """Start a stack of real processes and yield it.

    ``restart``: the supervisor restarts a process that dies, as in an installation. ``durable``: committed data survives a
    crash of the database; it is slower, so only tests that crash the database ask for it.
    """
    unset = {name: "" for name in os.environ if name.startswith("MPAC_")}  # hide the servers of other tests
    variables = {**unset, **SHORT_TIMEOUTS, **(env or {})}
    async with (
        WatchedStack(
            home, services=services, workers=workers, env=variables, durable=durable, restart=restart
        ) as stack,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
    ):
        live = LiveStack(stack, Api(stack.urls.api, Signer(stack.home.secrets), session), session)
        await live.add_tenant()
        yield live

"""Prepare what requests need: terminals, and the ids of payments, orders and bills that each of them may see."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import aiohttp
import psycopg

from benchmarks.frame import Run
from benchmarks.generator import cpu_figures, percentiles
from benchmarks.goals import Figures
from benchmarks.orders import ORDER, payment_body
from benchmarks.proof import Sandbox
from benchmarks.requests_load import FORM, Kind, RequestsJob
from benchmarks.seed import STORES, Device, create_devices, request_tokens
from benchmarks.targets import PRODUCT, SHARED
from mpac.cli.errors import UserError
from mpac.devtools.terminal import ASSERTION_TYPE, TOKEN_PATH, Terminal
from mpac.stack.local_stack import LocalStack

GENERATOR = "benchmarks.requests_load"
BEARERS = (
    64  # the terminals that send requests with a bearer token; they are of all stores, if there are no more stores
)
ASSERTION_SECONDS = 240  # the product accepts up to 300; the default of a minute could pass before the last one is used
PAUSE_SECONDS = 0.1
NO_OPEN_PAYMENT = "SELECT NOT EXISTS (SELECT FROM payments WHERE status IN ('pending', 'processing'))"
NO_OPEN_REFUND = "SELECT NOT EXISTS (SELECT FROM refunds WHERE status IN ('pending', 'processing'))"
PAYMENT = payment_body("{key}")


class Tills:
    """Terminals of the product, and the requests that they send."""

    def __init__(self, run: Run, stack: LocalStack, devices: list[Device]) -> None:
        self._run = run
        self._stack = stack
        self._devices = devices
        self._jobs = 0

    @classmethod
    async def create(
        cls, run: Run, stack: LocalStack, *, devices: int, latency_ms: int = 50, stores: int = STORES
    ) -> Self:
        """Create terminals, and set up the provider."""
        with run.step(f"creating {devices:,} terminals"):
            tills = cls(run, stack, await create_devices(stack, devices, stores=stores))
        async with Sandbox(stack.urls.sandbox, stack.control_key).session() as session:
            await session.put("/control/latency", json={"min_ms": latency_ms, "max_ms": latency_ms})
        return tills

    async def send(self, what: str, kinds: Mapping[str, Kind], **fields: Any) -> dict[str, Any]:
        """Send requests as one step, and return the findings. ``fields`` are the other fields of the job."""
        address = urlsplit(self._stack.urls.api)
        self._jobs += 1
        job = RequestsJob(
            host=str(address.hostname),
            port=address.port or 80,
            tokens=await request_tokens(self._stack.urls.api, self._devices[:BEARERS]),
            database_url=self._stack.urls.database,
            pids={name: pid for name, pid in self._stack.pids.items() if name in (*SHARED, *PRODUCT)},
            run=f"{self._run.stamp}-{self._jobs}",
            kinds=dict(kinds),
            **fields,
        )
        return await self._run.generate(GENERATOR, asdict(job), what)

    async def create_orders(self, number: int) -> None:
        """Create submitted orders."""
        orders = Kind([["POST", "/api/v1/orders", place, ORDER] for place in range(number)], is_retried=True)
        require_success(await self.send(f"creating {number:,} orders", {"order": orders}), number)

    async def create_payments(self, number: int) -> None:
        """Create payments, and wait until they are final."""
        payments = Kind([["POST", "/api/v1/payments", place, PAYMENT] for place in range(number)], is_retried=True)
        found = await self.send(f"creating {number:,} payments", {"payment": payments}, drained_when=NO_OPEN_PAYMENT)
        require_success(found, number)

    async def ids(self, statement: str) -> list[tuple[str, int]]:
        """Return the ids that a query finds, each with the number of a terminal of its store.

        ``statement`` selects the columns ``id`` and ``store_id``.
        """
        of_store = {device["store_id"]: place for place, device in enumerate(self._devices[:BEARERS])}
        async with await psycopg.AsyncConnection.connect(self._stack.urls.database) as connection:
            cursor = await connection.execute(statement)
            return [(row_id, of_store[store_id]) for row_id, store_id in await cursor.fetchall()]

    async def wait_until(self, statement: str) -> None:
        """Wait until a query returns true."""
        async with await psycopg.AsyncConnection.connect(self._stack.urls.database, autocommit=True) as connection:
            while await (await connection.execute(statement)).fetchone() != (True,):  # noqa: ASYNC110 - of the database
                await asyncio.sleep(PAUSE_SECONDS)

    async def assertions(self, number: int) -> Kind:
        """Return requests for ``number`` access tokens, each by the next device.

        Each has an assertion of its own. They are signed in advance, because a signature costs the client as much as the
        request costs the product.
        """
        expiry = int(time.time()) + ASSERTION_SECONDS
        requests: list[list[Any]] = []
        async with aiohttp.ClientSession() as session:
            terminals = [Terminal(self._stack.urls.api, device, session=session) for device in self._devices[:number]]
            for place in range(number):
                form = {
                    "grant_type": "client_credentials",
                    "client_assertion_type": ASSERTION_TYPE,
                    "client_assertion": terminals[place % len(terminals)].assertion(exp=expiry),
                }
                requests.append(["POST", TOKEN_PATH, -1, urlencode(form)])
        return Kind(requests, content_type=FORM, is_once=True)


def require_success(found: dict[str, Any], number: int) -> None:
    """Raise ``UserError`` if any of ``number`` requests was not answered with 2xx."""
    if found["complaints"]:
        raise UserError(f"Not all of {number:,} requests succeeded, so nothing can be measured: {found['complaints']}")


def request_figures(found: dict[str, Any]) -> Figures:
    """Return rates, latencies, answers and CPU time per request from the findings of one job."""
    statuses: Counter[str] = Counter()
    for answers in found["answers"].values():
        statuses.update(answers)
    return {
        "seconds": found["seconds"],
        "count": found["count"],
        "per_second": found["count"] / found["seconds"],
        "answers": dict(statuses),
        "refused": statuses["503"],
        "not_successful": sum(count for status, count in statuses.items() if not status.startswith("2")),
        "complaints": found["complaints"],
        "by_kind": {
            name: {"answers": found["answers"][name], "ms": percentiles(times)}
            for name, times in found["milliseconds"].items()
        },
        "ms": percentiles([each for times in found["milliseconds"].values() for each in times]),
        **cpu_figures(found["processor"], count=found["count"], seconds=found["seconds"]),
    }

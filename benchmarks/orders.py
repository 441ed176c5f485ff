"""``--orders``: compare the cost of an order with that of accepting a payment, on separate servers.

Only the processes that accept requests run (API, PostgreSQL, broker), so a payment costs what accepting it costs. Both kinds
are requested in a closed loop, one after the other in each round. CPU time is that of the API and the two servers. An order
has two items with two tax rates and is submitted; its target is 1.5 times the cost of a payment.

Rounds are interleaved and the figures are medians. The CPU use of other processes is reported beside them.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.cpu_time import CpuMeter, cpu_seconds_between
from benchmarks.generator import percentiles
from benchmarks.measure import stamp
from benchmarks.seed import create_devices, request_tokens
from benchmarks.terminal import Connection
from mpac.cli.errors import UserError
from mpac.stack.local_stack import LocalStack

SERVICES = ("postgres", "valkey", "api")
CREATED = 201
DEVICES = 64
LIMIT = 1.5


@dataclass(frozen=True, slots=True)
class OrdersPlan:
    """Duration and number of terminals. Each terminal sends its next request as soon as it has its answer."""

    rounds: int = 3
    warm_up: float = 1.5
    seconds: float = 4.0  # measured, for each kind in each round
    in_flight: int = 64


ORDERS_QUICK = OrdersPlan(rounds=1, warm_up=0.3, seconds=0.5, in_flight=8)
"""A plan that shows that the benchmark runs; its figures mean little."""

ORDER = json.dumps(
    {
        "order_type": "dine_in",
        "table_number": "7",
        "items": [
            {"name": "Ramen", "quantity": 2, "unit_price": 900, "tax_rate": "0.10"},
            {"name": "Rice ball", "quantity": 1, "unit_price": 150, "tax_rate": "0.08"},
        ],
        "submit": True,
    }
)


def payment_body(reference: str) -> str:
    """Return the body of a request for a payment with a reference of its own."""
    return (
        f'{{"amount":1000,"currency":"JPY","method":{{"type":"qr","mode":"cpm"}},"client_reference":"{reference}",'
        f'"metadata":{{"lane":"3"}}}}'
    )


KINDS: dict[str, tuple[str, Callable[[str], str]]] = {
    "payment": ("payments", payment_body),
    "order": ("orders", lambda _: ORDER),
}
"""Kind → the path, and the function that returns the request body for a request's reference."""


Figures = dict[str, float]
Rounds = dict[str, list[Figures]]


def compare_orders(plan: OrdersPlan, console: Console) -> dict[str, Any]:
    """Compare the CPU time of creating an order with that of accepting a payment.

    Print the figures and return them.
    """
    rounds = asyncio.run(_measure(plan))
    medians = {
        kind: {name: statistics.median(figures[name] for figures in found) for name in found[0]}
        for kind, found in rounds.items()
    }
    ratio = ratio_of(medians)
    _show(medians, ratio, console)
    return {"plan": asdict(plan), "medians": medians, "ratio": ratio, "limit": LIMIT, "rounds": rounds}


def ratio_of(medians: dict[str, Figures]) -> float:
    """Return the CPU time of an order, over all processes, as a multiple of a payment's accept."""
    return medians["order"]["processor ms"] / medians["payment"]["processor ms"]


def _show(medians: dict[str, Figures], ratio: float, console: Console) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", *medians["order"]):
        table.add_column(name, justify="right" if name else "left")
    for kind, figures in medians.items():
        table.add_row(kind, *(f"{value:,.2f}" for value in figures.values()))
    console.print(table)
    verdict = "within" if ratio <= LIMIT else "above"
    console.print(f"An order costs {ratio:.2f} times a payment's accept: {verdict} the {LIMIT} that it may cost.")


async def _measure(plan: OrdersPlan) -> Rounds:
    found: Rounds = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="mpac-bench-", ignore_cleanup_errors=True) as folder:
        async with LocalStack(Path(folder) / "home", services=SERVICES, restart=False, durable=True) as stack:
            devices = await create_devices(stack, DEVICES)
            async with await psycopg.AsyncConnection.connect(stack.urls.database, autocommit=True) as session:
                meter = CpuMeter({name: stack.pids[name] for name in SERVICES}, session_pid=session.info.backend_pid)
                for number in range(plan.rounds):
                    for kind in KINDS:
                        tokens = await request_tokens(stack.urls.api, devices)
                        await session.execute("VACUUM ANALYZE")
                        load = Load(kind, stack, tokens, f"{stamp()}-{number}")
                        found[kind].append(await load.run(meter, plan))
    return found


class Load:
    """A generator of one kind of requests: each terminal sends its next request after the answer to its last one."""

    def __init__(self, kind: str, stack: LocalStack, tokens: list[str], run: str) -> None:
        self._path, self._body = KINDS[kind]
        self._address = stack.urls.api.removeprefix("http://").split(":")
        self._tokens, self._run = tokens, run
        self._is_over = False
        self._times: list[float] = []

    async def run(self, meter: CpuMeter, plan: OrdersPlan) -> Figures:
        """Send requests for the plan's warm-up and measured time, and return the figures of the measured time."""
        terminals = [asyncio.create_task(self._keep_requesting(number)) for number in range(plan.in_flight)]
        await self._load_for(plan.warm_up, terminals)
        self._times.clear()
        before = meter.read()
        await self._load_for(plan.seconds, terminals)
        after, count = meter.read(), len(self._times)
        spent, took = cpu_seconds_between(before, after), after.at - before.at
        self._is_over = True
        times = percentiles([1_000 * seconds for seconds in self._times[:count]])
        await asyncio.gather(*terminals)
        by_part = {f"{name} ms": 1_000 * spent[name] / count for name in SERVICES}
        return {
            "per second": count / took,
            "processor ms": sum(by_part.values()),
            **by_part,
            "P99 ms": times["p99"],
            "of others": spent["others"] / took,
        }

    async def _load_for(self, seconds: float, terminals: list["asyncio.Task[None]"]) -> None:
        """Let the terminals run for ``seconds``.

        Raises the error of any terminal, because the figures would be void.
        """
        ended, _ = await asyncio.wait(terminals, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for terminal in ended:
            terminal.result()

    async def _keep_requesting(self, terminal: int) -> None:
        host, port = self._address
        loop: Any = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, host, int(port))
        number = 0
        while not self._is_over:
            number += 1
            key = f"{self._run}-{terminal}-{number}"
            body = self._body(key)
            began = time.perf_counter()
            answer = await connection.exchange(
                f"POST /api/v1/{self._path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer "
                f"{self._tokens[terminal % len(self._tokens)]}\r\nContent-Type: application/json\r\nIdempotency-Key: {key}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            if answer.status != CREATED:
                raise UserError(f"POST /{self._path} was answered {answer.status}: {answer.body.decode()[:300]}")
            self._times.append(time.perf_counter() - began)
        connection.close()

"""What an order costs beside a payment: ``python -m benchmarks.orders [--rounds N] [--seconds S]``, servers of its own.

Only what takes requests in is up (API, PostgreSQL, broker), so that a payment costs its accept and nothing of what follows.
Both are asked for in a closed loop, one after the other in each round; processor time is that of the API and the two
servers. An order has two items of two tax rates and is submitted; it may cost 1.5 times a payment's accept.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.measure import percentiles, stamp
from benchmarks.processor import Meter, used
from benchmarks.seed import ask_tokens, make_devices
from benchmarks.terminal import Connection
from mpac.stack.local import LocalStack

PARTS = ("postgres", "valkey", "api")
CREATED = 201
DEVICES = 64
WARM_UP_SECONDS = 1.5
LIMIT = 1.5

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


def _payment(number: str) -> str:
    return (
        f'{{"amount":1000,"currency":"JPY","method":{{"type":"qr","mode":"cpm"}},"client_reference":"{number}",'
        f'"metadata":{{"lane":"3"}}}}'
    )


KINDS: dict[str, tuple[str, Callable[[str], str]]] = {
    "payment": ("payments", _payment),
    "order": ("orders", lambda _: ORDER),
}
"""What is asked for → its path and the body with this number."""


@click.command()
@click.option(
    "--rounds", type=click.IntRange(1, 20), default=3, help="Interleaved rounds; the table shows their medians."
)
@click.option("--seconds", type=click.FloatRange(0.2, 60), default=4.0, help="Measured per kind and round.")
@click.option("--in-flight", type=click.IntRange(1, 512), default=64, help="Terminals of the closed loop.")
def main(*, rounds: int, seconds: float, in_flight: int) -> None:
    """Measure and show; exit code 1 where an order costs more than it may."""
    found = asyncio.run(measure(rounds=rounds, seconds=seconds, in_flight=in_flight))
    medians = {
        kind: {name: statistics.median(one[name] for one in each) for name in each[0]} for kind, each in found.items()
    }
    ratio = medians["order"]["processor ms"] / medians["payment"]["processor ms"]
    _show(medians, ratio)
    raise SystemExit(ratio > LIMIT)


def _show(medians: dict[str, dict[str, float]], ratio: float) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", *medians["order"]):
        table.add_column(name, justify="right" if name else "left")
    for kind, figures in medians.items():
        table.add_row(kind, *(f"{value:,.2f}" for value in figures.values()))
    console = Console()
    console.print(table)
    console.print(f"An order costs {ratio:.2f} times a payment's accept; it may cost {LIMIT}.")


async def measure(*, rounds: int, seconds: float, in_flight: int) -> dict[str, list[dict[str, float]]]:
    """The figures of each round, by kind."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="mpac-bench-", ignore_cleanup_errors=True) as folder:
        async with LocalStack(Path(folder) / "home", parts=PARTS, restart=False, durable=True) as stack:
            devices = await make_devices(stack, DEVICES)
            async with await psycopg.AsyncConnection.connect(stack.urls.database, autocommit=True) as session:
                meter = Meter({name: stack.pids[name] for name in PARTS}, session_pid=session.info.backend_pid)
                for number in range(rounds):
                    for kind in KINDS:
                        tokens = await ask_tokens(stack.urls.api, devices)
                        await session.execute("VACUUM ANALYZE")
                        load = Load(kind, stack, tokens, f"{stamp()}-{number}")
                        found[kind].append(await load.run(meter, seconds=seconds, in_flight=in_flight))
    return found


class Load:
    """Terminals that ask for one kind of thing, each again as soon as it has its answer."""

    def __init__(self, kind: str, stack: LocalStack, tokens: list[str], run: str) -> None:
        self._path, self._body = KINDS[kind]
        self._address = stack.urls.api.removeprefix("http://").split(":")
        self._tokens, self._run = tokens, run
        self._is_over = False
        self._times: list[float] = []

    async def run(self, meter: Meter, *, seconds: float, in_flight: int) -> dict[str, float]:
        """Load, measure, stop."""
        terminals = [asyncio.create_task(self._keep_asking(number)) for number in range(in_flight)]
        await asyncio.sleep(WARM_UP_SECONDS)
        self._times.clear()
        before, began = meter.read(), time.perf_counter()
        await asyncio.sleep(seconds)
        spent, count = used(before, meter.read()), len(self._times)
        took = time.perf_counter() - began
        self._is_over = True
        times = percentiles([1_000 * one for one in self._times[:count]])
        await asyncio.gather(*terminals)
        by_part = {f"{name} ms": 1_000 * spent[name] / count for name in PARTS}
        return {"per second": count / took, "processor ms": sum(by_part.values()), **by_part, "P99 ms": times["p99"]}

    async def _keep_asking(self, terminal: int) -> None:
        host, port = self._address
        loop: Any = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, host, int(port))
        number = 0
        while not self._is_over:
            number += 1
            key = f"{self._run}-{terminal}-{number}"
            body = self._body(key)
            began = time.perf_counter()
            answer = await connection.ask(
                f"POST /api/v1/{self._path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer "
                f"{self._tokens[terminal % len(self._tokens)]}\r\nContent-Type: application/json\r\nIdempotency-Key: {key}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            if answer.status != CREATED:
                raise SystemExit(f"POST /{self._path} was answered {answer.status}: {answer.body.decode()[:300]}")
            self._times.append(time.perf_counter() - began)
        connection.close()


if __name__ == "__main__":
    main()

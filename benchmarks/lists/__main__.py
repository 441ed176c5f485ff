"""``python -m benchmarks.lists``: time each list over HTTP, in every scope, with frequent and rare values.

It first creates a database with ten million payments, which takes some ten minutes, unless ``--home`` has one.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import click
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.generator import percentiles
from benchmarks.lists.create_data import Size, create_data
from mpac.devtools.user_tokens import Tenant, UserTokens
from mpac.stack.local_stack import LocalStack

REPEATED = 20
SERVICES = ("postgres", "valkey", "migrate", "api")

SCOPES = {
    "store": ("store_manager", {"psp_id": "psp_0", "merchant_id": "mer_0", "store_id": "sto_1"}),
    "merchant, 35 stores": ("merchant_admin", {"psp_id": "psp_0", "merchant_id": "mer_20"}),
    "merchant, 316 stores": ("merchant_admin", {"psp_id": "psp_0", "merchant_id": "mer_0"}),
    "psp, 2,236 stores": ("psp_admin", {"psp_id": "psp_0"}),
    "system": ("system_op", {}),
}

FILTERS: dict[str, tuple[str, ...]] = {
    "payments": (
        "",
        "status=completed",
        "status=failed",
        "status=processing",
        "provider=cash",
        "needs_review=true",
        "outcome_known=false",
        "overdue=true",
        "card_last_4=0042",
        "client_reference=r-4000000",
        "device_id=dev_1_1",
        "store_id=sto_1",
        "amount_from=20000",
        "amount_from=77777777",
        "created_from={middle}",
        "created_to={middle}",
        "status=failed&created_to={middle}",
    ),
    "refunds": ("", "status=failed", "needs_review=true", "amount_from=20000", "created_to={middle}"),
    "orders": ("", "status=cancelled", "table_number=T7", "order_number=O4000001", "created_to={middle}"),
    "bills": ("", "status=unpaid", "bill_number=B4000001", "created_to={middle}"),
    "settlements": ("", "status=closed", "status=open"),
    "terminals": ("", "status=suspended"),
}
"""List → its queries. ``{middle}`` is the time at which half of the rows had been created."""


@click.command()
@click.option("--payments", default=10_000_000, show_default=True, help="How many payments there are.")
@click.option(
    "--home", type=click.Path(path_type=Path), help="A folder for the database, which is used again if it has rows."
)
def main(payments: int, home: Path | None) -> None:
    """Time every list."""
    with tempfile.TemporaryDirectory(prefix="mpac-lists-", ignore_cleanup_errors=True) as folder:
        asyncio.run(_run((home or Path(folder)) / "home", Size(payments=payments)))


async def _run(home: Path, size: Size) -> None:
    console = Console(width=150)
    async with LocalStack(home, services=SERVICES, restart=False) as stack:
        started = time.monotonic()
        await asyncio.to_thread(_fill, stack.urls.database, size)
        console.print(f"{size.payments:,} payments after {time.monotonic() - started:.0f} s")
        table = Table("list", "scope", "P50 ms", "P99 ms", "longest ms", "rows, pages", box=None)
        async with aiohttp.ClientSession(stack.urls.api) as session:
            every: list[float] = []
            for query, scope, token in _cases(stack, await asyncio.to_thread(_middle, stack.urls.database)):
                times, rows = await _time(session, query, token)
                table.add_row(query, scope, *_cells(times), f"{rows}")
                every += times
            table.add_row(f"all {len(every):,} pages", "", *_cells(every), "")
        console.print(table)


def _cases(stack: LocalStack, middle: str) -> Iterator[tuple[str, str, str]]:
    tokens = UserTokens(stack.home)
    for scope, (role, ids) in SCOPES.items():
        for name, queries in FILTERS.items():
            for query in queries:
                yield f"{name}?{query.format(middle=middle)}", scope, tokens.issue(role, Tenant(**ids))


async def _time(session: aiohttp.ClientSession, query: str, token: str) -> tuple[list[float], int]:
    """Return how long the first page and those that follow it took, in ms, and how many rows they had."""
    times: list[float] = []
    rows, cursor = 0, None
    for _ in range(REPEATED):
        path = f"/api/v1/{query}{f'&cursor={cursor}' if cursor else ''}"
        begun = time.perf_counter()
        async with session.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
            page: dict[str, Any] = await answer.json()
            answer.raise_for_status()
        times.append((time.perf_counter() - begun) * 1000)
        rows, cursor = rows + len(page["data"]), page["next_cursor"]
    return times, rows


def _cells(times: list[float]) -> tuple[str, ...]:
    found = percentiles(times)
    return f"{found['p50']:.0f}", f"{found['p99']:.0f}", f"{max(times):.0f}"


def _fill(url: str, size: Size) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT FROM payments LIMIT 1").fetchone() is None:
            create_data(connection, size)


def _middle(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT to_char(now() - interval '60 days', 'YYYY-MM-DD\"T\"00:00:00\"Z\"')"
        ).fetchone()
    assert row
    return str(row[0])


if __name__ == "__main__":
    main()

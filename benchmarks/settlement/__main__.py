"""Measure the end of a day: ``python -m benchmarks.settlement --home DIR`` on the database of a running stack.

| row                   | what it is                                                                                       |
|-----------------------|--------------------------------------------------------------------------------------------------|
| one aggregate query   | sum and count by method over the same rows, one statement: the least anybody has to read            |
| COPY of the rows      | the same rows as lines into an empty table without an index: the least anybody has to write         |
| close                 | the product's close of that store: lines, marks, totals, history, next period |
| stores at one minute  | so many due stores drained in pages of 50 by two closers                                           |
| postings              | what the ledger adds to the record of a payment, in groups of 50                                    |

Ratios to the first two are what can be compared between machines.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path

import psycopg
import uuid_utils

from benchmarks.settlement.plant import plant
from benchmarks.settlement.posting import post_groups
from workflows.database import connect, disconnect
from workflows.settings import Settings
from workflows.settlements.close import close_settlements
from workflows.settlements.open_due import open_due

PAGE, CLOSERS = 50, 2

_AGGREGATE = """
    SELECT method_type, provider, card_brand, count(*), sum(captured_amount), sum(fee) FROM payments
    WHERE store_id = %s AND completed_at IS NOT NULL AND settlement_id IS NULL GROUP BY 1, 2, 3
"""
_ROWS = """
    SELECT 'x'::text, 'payment'::text, id, merchant_id, store_id, id, provider, provider_reference, id || ':1', method_type,
           card_brand, currency, captured_amount, tip_amount, fee, completed_at, completed_at::date, false
    FROM payments WHERE store_id = '{store}'
"""


def memory_mb() -> float:
    """The most this process has ever held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(connection: psycopg.Connection, statement: str, *values: object) -> float:
    """Seconds that ``statement`` takes."""
    started = time.perf_counter()
    connection.execute(statement, values or None).fetchall() if values else connection.execute(statement)
    return time.perf_counter() - started


def yardsticks(address: str, store: str) -> dict[str, float]:
    """What the database needs for the least that any close has to do."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE copied (LIKE settlement_lines)")
        aggregate = min(timed(connection, _AGGREGATE, store) for _ in range(2))
        started = time.perf_counter()
        with (
            psycopg.connect(address) as reading,
            reading.cursor().copy(f"COPY ({_ROWS.format(store=store)}) TO STDOUT (FORMAT binary)") as source,
            connection.cursor().copy("COPY copied FROM STDIN (FORMAT binary)") as target,
        ):
            for data in source:
                target.write(data)
        return {"aggregate_seconds": aggregate, "copy_seconds": time.perf_counter() - started}


async def close_one(store: str, address: str) -> dict[str, float]:
    """Close the one due settlement of ``store``."""
    with psycopg.connect(address) as connection:
        (due,) = connection.execute(
            "SELECT id FROM settlements WHERE store_id = %s AND end_at <= now()", [store]
        ).fetchall()
    before, started = memory_mb(), time.perf_counter()
    await close_settlements([due[0]], worker="bench")
    seconds = time.perf_counter() - started
    with psycopg.connect(address) as connection:
        status, lines = connection.execute(
            "SELECT status, line_count FROM settlements WHERE id = %s", [due[0]]
        ).fetchone() or ("?", 0)
    if status != "closed":
        raise SystemExit("The settlement was not closed: see the log above.")
    return {"lines": lines, "close_seconds": seconds, "memory_mb": memory_mb(), "memory_grew_mb": memory_mb() - before}


async def drain(run: str, address: str) -> float:
    """Seconds until no store of ``run`` is due any more."""
    with psycopg.connect(address) as connection:
        found = connection.execute(
            "SELECT id FROM settlements WHERE status = 'open' AND end_at <= now() AND store_id LIKE %s",
            [f"sto_{run}_%"],
        )
        pages: asyncio.Queue[list[str]] = asyncio.Queue()
        ids = [row[0] for row in found]
    for start in range(0, len(ids), PAGE):
        pages.put_nowait(ids[start : start + PAGE])

    async def closer() -> None:
        while not pages.empty():
            await close_settlements(pages.get_nowait(), worker="bench")

    started = time.perf_counter()
    await asyncio.gather(*(closer() for _ in range(CLOSERS)))
    return time.perf_counter() - started


async def measure(address: str, *, rows: int, stores: int, each: int, postings: int) -> dict[str, float]:
    """All of it, in one run on one database."""
    run = uuid_utils.uuid7().hex[-6:]
    connect(Settings(database_url=address, broker_url="redis://none", secret_key="bench"))
    result: dict[str, float] = {}
    if rows:
        plant(address, run=f"a{run}", stores=1, payments=rows)
        store = f"sto_a{run}_000001"
        await open_due(worker="bench")
        result |= yardsticks(address, store)
        result |= await close_one(store, address)
        result["close_to_aggregate"] = result["close_seconds"] / result["aggregate_seconds"]
        result["close_to_copy"] = result["close_seconds"] / result["copy_seconds"]
    if stores:
        plant(address, run=f"b{run}", stores=stores, payments=each)
        started = time.perf_counter()
        await open_due(worker="bench")
        result |= {"stores": stores, "open_seconds": time.perf_counter() - started}
        result["drain_seconds"] = await drain(f"b{run}", address)
    if postings:
        result |= await post_groups(address, run=f"c{run}", payments=postings)
    await disconnect()
    return result


def main() -> None:
    """Parse, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("MPAC_HOME", ".mpac")))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--stores", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=20, help="payments of each of the stores")
    parser.add_argument("--postings", type=int, default=5_000, help="payments posted to the ledger")
    asked = parser.parse_args()
    address = json.loads((asked.home / "run.json").read_text())["database_url"]
    result = asyncio.run(
        measure(address, rows=asked.rows, stores=asked.stores, each=asked.each, postings=asked.postings)
    )
    json.dump({name: round(value, 3) for name, value in result.items()}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()

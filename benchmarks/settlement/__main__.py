"""Measure the end of a day: ``python -m benchmarks.settlement``, on its own database, in about five minutes.

The first four rows use one store with ``rows`` payments.

| row                   | what it measures                                                                                  |
|-----------------------|---------------------------------------------------------------------------------------------------|
| one aggregate query   | sums and count of that store's payments by method: the minimum of any read                        |
| COPY of the rows      | the same payments as settlement lines into a table without an index: the minimum of any write     |
| close                 | close of that store's settlement: lines, totals, history, next period, marks on the payments      |
| refund kept waiting   | the longest wait for a row lock on one of the payments meanwhile, taken as a refund takes it      |
| stores at one minute  | close of ``stores`` settlements that are due at once, in pages of 50 by two closers               |
| postings              | what the ledger adds to the recording of a payment, in groups of 50                               |

The ratios to the first two rows can be compared between machines, because those rows are measured in the same run over the
same data.
"""

import argparse
import asyncio
import threading
import time
from pathlib import Path

import psycopg
import uuid_utils

from benchmarks.large_data import Row, database_alone, memory_mb, show
from benchmarks.settlement.create_data import create_payments
from benchmarks.settlement.posting import post_groups
from workflows.database.engines import connect, disconnect
from workflows.settings import Settings
from workflows.settlements.close import close_settlements
from workflows.settlements.open_periods import open_due_periods

CLOSE_SECONDS, MEMORY_MB, POST_MS = 60.0, 200.0, 0.05
"""The targets: a million lines, the closing process, the ledger's share of recording a payment."""

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


def seconds_of(connection: psycopg.Connection, statement: str, *values: object) -> float:
    """Return the seconds that ``statement`` takes."""
    started = time.perf_counter()
    connection.execute(statement, values or None).fetchall() if values else connection.execute(statement)
    return time.perf_counter() - started


def yardsticks(address: str, store: str) -> dict[str, float]:
    """Measure the two lower bounds of the table: the aggregate query and the COPY."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE copied (LIKE settlement_lines)")
        aggregate = min(seconds_of(connection, _AGGREGATE, store) for _ in range(2))
        started = time.perf_counter()
        with (
            psycopg.connect(address) as reading,
            reading.cursor().copy(f"COPY ({_ROWS.format(store=store)}) TO STDOUT (FORMAT binary)") as source,
            connection.cursor().copy("COPY copied FROM STDIN (FORMAT binary)") as target,
        ):
            for data in source:
                target.write(data)
        return {"aggregate_seconds": aggregate, "copy_seconds": time.perf_counter() - started}


class LockWaitProbe:
    """Lock a payment repeatedly, as a refund does, and remember the longest wait."""

    def __init__(self, address: str, store: str) -> None:
        self._address, self._store = address, store
        self._is_over = threading.Event()
        self.longest_seconds = 0.0
        self._thread = threading.Thread(target=self._keep_locking)

    def __enter__(self) -> "LockWaitProbe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _keep_locking(self) -> None:
        with psycopg.connect(self._address, autocommit=True) as connection:
            first = (
                "SELECT min(id) FROM payments WHERE store_id = %s"  # the close marks it first, and so locks it longest
            )
            payment_id = (connection.execute(first, [self._store]).fetchone() or [""])[0]
            while not self._is_over.wait(0.05):
                started = time.perf_counter()
                connection.execute("SELECT FROM payments WHERE id = %s FOR UPDATE", [payment_id])
                self.longest_seconds = max(self.longest_seconds, time.perf_counter() - started)


async def close_one(store: str, address: str) -> dict[str, float]:
    """Close the only due settlement of ``store``, and return the figures."""
    with psycopg.connect(address) as connection:
        (due,) = connection.execute(
            "SELECT id FROM settlements WHERE store_id = %s AND status = 'open' AND end_at <= now()", [store]
        ).fetchall()
    with LockWaitProbe(address, store) as probe:
        before, started = memory_mb(), time.perf_counter()
        await close_settlements([due[0]], worker="bench")
        seconds = time.perf_counter() - started
    with psycopg.connect(address) as connection:
        status, lines = connection.execute(
            "SELECT status, line_count FROM settlements WHERE id = %s", [due[0]]
        ).fetchone() or ("?", 0)
    if status != "closed":
        raise SystemExit("The settlement was not closed: see the log above.")
    memory = {"memory_mb": memory_mb(), "memory_grew_mb": memory_mb() - before}
    return {"lines": lines, "close_seconds": seconds, "wait_seconds": probe.longest_seconds, **memory}


async def close_all_due(run: str, address: str) -> float:
    """Close all due settlements of ``run`` with ``CLOSERS`` concurrent closers; return the seconds taken."""
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


async def measure(address: str | None, *, rows: int, stores: int, each: int, postings: int) -> list[Row]:
    """Run the whole benchmark on one database."""
    found: list[Row] = []
    run = uuid_utils.uuid7().hex[-6:]
    async with database_alone(address) as url:
        connect(Settings(database_url=url, broker_url="redis://none", secret_key="bench"))
        if rows:
            found += await _one_large(url, run=f"a{run}", rows=rows)
        if stores:
            found += await _many_small(url, run=f"b{run}", stores=stores, each=each)
        if postings:
            posted = await post_groups(url, run=f"c{run}", payments=postings)
            found.append(
                Row("the ledger's share of a record", posted["post_ms_per_payment"], "ms/payment", limit=POST_MS)
            )
        await disconnect()
    return found


async def _one_large(address: str, *, run: str, rows: int) -> list[Row]:
    create_payments(address, run=run, stores=1, payments=rows)
    store = f"sto_{run}_000001"
    await open_due_periods(worker="bench")
    least = yardsticks(address, store)
    found = await close_one(store, address)
    seconds = found["close_seconds"]
    beside = f"{seconds / least['copy_seconds']:.1f} x COPY, {seconds / least['aggregate_seconds']:.0f} x aggregate"
    return [
        Row("one aggregate query", least["aggregate_seconds"]),
        Row("COPY of the rows", least["copy_seconds"]),
        Row(f"close of {found['lines']:,.0f} lines", seconds, beside=beside, limit=CLOSE_SECONDS),
        Row("longest wait of a refund meanwhile", found["wait_seconds"]),
        Row(f"the closing process (grew by {found['memory_grew_mb']:.0f})", found["memory_mb"], "MB", limit=MEMORY_MB),
    ]


async def _many_small(address: str, *, run: str, stores: int, each: int) -> list[Row]:
    create_payments(address, run=run, stores=stores, payments=each)
    started = time.perf_counter()
    await open_due_periods(worker="bench")
    opened = time.perf_counter() - started
    return [
        Row(f"first periods of {stores:,} stores", opened),
        Row(f"{stores:,} stores due at once, {each} payments each", await close_all_due(run, address)),
    ]


def main() -> None:
    """Parse the arguments, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--database", help="the URL of a database that no beat uses; without it, a temporary one is started"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="payments of the large store; 0 leaves it out")
    parser.add_argument("--stores", type=int, default=10_000, help="stores due at once; 0 leaves them out")
    parser.add_argument("--each", type=int, default=20, help="payments of each of the stores")
    parser.add_argument("--postings", type=int, default=5_000, help="payments posted to the ledger; 0 leaves it out")
    parser.add_argument("--results", type=Path, help="a JSON file to write as well")
    options = parser.parse_args()
    sizes = {name: getattr(options, name) for name in ("rows", "stores", "each", "postings")}
    show("The end of a day", asyncio.run(measure(options.database, **sizes)), results=options.results)


if __name__ == "__main__":
    main()

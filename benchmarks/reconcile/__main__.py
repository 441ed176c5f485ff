"""Measure reconciliation: ``python -m benchmarks.reconcile``, on its own database, in about five minutes.

| row                 | what it measures                                                                          |
|---------------------|-------------------------------------------------------------------------------------------|
| one aggregate query | both sides summed and joined by reference in one statement: the minimum of any comparison |
| COPY of the rows    | the statement's lines into an empty table without an index: the minimum of any write      |
| receive             | the product accepts the file: digest, raw file, each line parsed, checked and stored      |
| reconcile           | the product's run: passes, categories, breaks, summary, history                           |
| without a statement | a run in which each line is a break, and a second such run (``--missing``)                |

The ratios to the first two rows can be compared between machines, because those rows are measured in the same run over the
same data. The database writes the file, which is never held in this process, so the reported memory is that of receiving and
reconciling.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import IO

import psycopg
import uuid_utils

from benchmarks.large_data import Row, database_alone, memory_mb, show
from benchmarks.reconcile.create_data import create_settlement, write_statement
from workflows.database.engines import connect, disconnect
from workflows.reconciliation.reconcile import reconcile_settlement
from workflows.reconciliation.statements.store_file import Incoming, receive_statement
from workflows.settings import Settings
from workflows.tenants.actor import Actor

RECONCILE_SECONDS, MEMORY_MB = 120.0, 200.0
"""The targets for a million rows."""

BREAKS = 1_000

_AGGREGATE = """
    SELECT count(*), sum(l.amount), sum(t.amount), sum(l.fee - t.fee)
    FROM settlement_lines l FULL JOIN (SELECT * FROM statement_lines WHERE statement_id = %s) t
      ON t.our_reference = l.our_reference WHERE l.settlement_id = %s OR l.settlement_id IS NULL
"""


def yardsticks(address: str, *, settlement_id: str, statement_id: str) -> dict[str, float]:
    """Measure two lower bounds for comparison in the table of results: the aggregate query and the COPY."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("ANALYZE settlement_lines, statement_lines")
        times = []
        for _ in range(2):
            started = time.perf_counter()
            connection.execute(_AGGREGATE, [statement_id, settlement_id]).fetchall()
            times.append(time.perf_counter() - started)
        connection.execute("CREATE TEMP TABLE copied (LIKE statement_lines)")
        rows = f"COPY (SELECT * FROM statement_lines WHERE statement_id = '{statement_id}') TO STDOUT (FORMAT binary)"
        started = time.perf_counter()
        with (
            psycopg.connect(address) as reading,
            reading.cursor().copy(rows) as source,
            connection.cursor().copy("COPY copied FROM STDIN (FORMAT binary)") as target,
        ):
            for data in source:
                target.write(data)
        return {"aggregate_seconds": min(times), "copy_seconds": time.perf_counter() - started}


async def product(settlement_id: str, file: IO[bytes], settings: Settings) -> tuple[str, dict[str, float]]:
    """Receive the file and reconcile. Return the id of the statement and the figures."""
    actor = Actor(worker="bench")
    before, started = memory_mb(), time.perf_counter()
    stored = await receive_statement(Incoming(settlement_id, "sandbox", file, "csv"), actor=actor)
    received = time.perf_counter()
    run = await reconcile_settlement(settlement_id, actor=actor, settings=settings)
    done = time.perf_counter()
    if run["open_breaks"] != BREAKS:
        raise SystemExit(f"{BREAKS} breaks were planted and {run['open_breaks']} found.")
    figures = {"receive_seconds": received - started, "reconcile_seconds": done - received}
    return stored.resource_id or "", {**figures, "memory_mb": memory_mb(), "memory_grew_mb": memory_mb() - before}


async def measure(address: str | None, *, rows: int, missing: int) -> list[Row]:
    """Run the whole benchmark on one database."""
    found: list[Row] = []
    async with database_alone(address) as url:
        settings = Settings(database_url=url, broker_url="redis://none", secret_key="bench")
        connect(settings)
        if rows:
            found += await _with_statement(url, settings, rows=rows)
        if missing:
            found += await _without_statement(url, settings, rows=missing)
        await disconnect()
    return found


async def _with_statement(address: str, settings: Settings, *, rows: int) -> list[Row]:
    settlement_id = await create_settlement(address, run=uuid_utils.uuid7().hex[-8:], rows=rows)
    with tempfile.TemporaryFile() as file:
        size = write_statement(address, file, settlement_id=settlement_id, breaks=BREAKS)
        statement_id, figures = await product(settlement_id, file, settings)
    least = yardsticks(address, settlement_id=settlement_id, statement_id=statement_id)
    received, reconciled = figures["receive_seconds"], figures["reconcile_seconds"]
    title = f"the process (grew by {figures['memory_grew_mb']:.0f})"
    return [
        Row("one aggregate query", least["aggregate_seconds"]),
        Row("COPY of the rows", least["copy_seconds"]),
        Row(
            f"receive {rows:,} lines ({size / 1e6:.0f} MB)",
            received,
            beside=f"{received / least['copy_seconds']:.1f} x COPY",
        ),
        Row(
            f"reconcile {rows:,} lines, {BREAKS:,} breaks",
            reconciled,
            beside=f"{reconciled / least['aggregate_seconds']:.1f} x aggregate",
            limit=RECONCILE_SECONDS,
        ),
        Row(title, figures["memory_mb"], "MB", limit=MEMORY_MB),
    ]


async def _without_statement(address: str, settings: Settings, *, rows: int) -> list[Row]:
    settlement_id = await create_settlement(address, run=uuid_utils.uuid7().hex[-8:], rows=rows)
    found = []
    for what in ("without a statement", "the same again"):
        started = time.perf_counter()
        run = await reconcile_settlement(settlement_id, actor=Actor(worker="bench"), settings=settings)
        found.append(Row(f"reconcile {rows:,} lines {what}", time.perf_counter() - started))
        if run["open_breaks"] != rows:
            raise SystemExit(f"{rows} lines are missing and {run['open_breaks']} breaks were found.")
    return [*found, Row("the process after it", memory_mb(), "MB", limit=MEMORY_MB)]


def main() -> None:
    """Parse the arguments, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--database", help="the URL of a database that no beat uses; without it, a temporary one is started"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="lines with a statement; 0 leaves them out")
    parser.add_argument("--missing", type=int, default=200_000, help="lines without a statement; 0 leaves them out")
    parser.add_argument("--results", type=Path, help="a JSON file to write as well")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.database, rows=options.rows, missing=options.missing))
    show("Statements and reconciliation", rows, results=options.results)


if __name__ == "__main__":
    main()

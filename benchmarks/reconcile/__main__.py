"""Measure: ``python -m benchmarks.reconcile --home DIR [--rows N]`` on the database of a running stack.

| row                 | what it is                                                                                  |
|---------------------|----------------------------------------------------------------------------------------------|
| one aggregate query | both sides summed and joined by reference in one statement: the least that anybody has to do   |
| COPY of the rows    | the statement's lines into an empty table without an index: the least anybody has to write     |
| receive             | the product takes the file in: digest, raw file, every line read and checked, lines kept       |
| reconcile           | the product's run: passes, categories, breaks, summary, history                                |

Ratios to the first two are what can be compared between machines. The file is written by the database and never held here,
so the memory told is what receiving and reconciling take.
"""

import argparse
import asyncio
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import IO

import psycopg
import uuid_utils

from benchmarks.reconcile.plant import plant, write_statement
from workflows.database import connect, disconnect
from workflows.settings import Settings
from workflows.settlements.hand import Hand
from workflows.settlements.reconcile import reconcile_settlement
from workflows.settlements.statements.receive import Incoming, receive_statement

BREAKS = 1_000

_AGGREGATE = """
    SELECT count(*), sum(l.amount), sum(t.amount), sum(l.fee - t.fee)
    FROM settlement_lines l FULL JOIN (SELECT * FROM statement_lines WHERE statement_id = %s) t
      ON t.our_reference = l.our_reference WHERE l.settlement_id = %s OR l.settlement_id IS NULL
"""


def memory_mb() -> float:
    """The most this process has ever held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def yardsticks(address: str, *, settlement_id: str, statement_id: str) -> dict[str, float]:
    """What the database needs for the least that any comparison has to do."""
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
    """Receive and reconcile; the statement's id and the figures."""
    hand = Hand(worker="bench")
    before, started = memory_mb(), time.perf_counter()
    stored = await receive_statement(Incoming(settlement_id, "sandbox", file, "csv"), hand=hand)
    received = time.perf_counter()
    run = await reconcile_settlement(settlement_id, hand=hand, settings=settings)
    done = time.perf_counter()
    if run["open_breaks"] != BREAKS:
        raise SystemExit(f"{BREAKS} breaks were planted and {run['open_breaks']} found.")
    figures = {"receive_seconds": received - started, "reconcile_seconds": done - received}
    return stored.resource_id or "", {**figures, "memory_mb": memory_mb(), "memory_grew_mb": memory_mb() - before}


async def measure(address: str, *, rows: int) -> dict[str, float]:
    """All of it, in one run on one database."""
    settings = Settings(database_url=address, broker_url="redis://none", secret_key="bench")
    connect(settings)
    settlement_id = await plant(address, run=uuid_utils.uuid7().hex[-8:], rows=rows)
    with tempfile.TemporaryFile() as file:
        size = write_statement(address, file, settlement_id=settlement_id, breaks=BREAKS)
        statement_id, figures = await product(settlement_id, file, settings)
    await disconnect()
    least = yardsticks(address, settlement_id=settlement_id, statement_id=statement_id)
    return {
        "rows": rows,
        "file_mb": size / 1e6,
        **figures,
        **least,
        "reconcile_to_aggregate": figures["reconcile_seconds"] / least["aggregate_seconds"],
        "receive_to_copy": figures["receive_seconds"] / least["copy_seconds"],
    }


def main() -> None:
    """Parse, measure, print JSON."""
    parser = argparse.ArgumentParser(description="Receive and reconcile a large statement")
    parser.add_argument("--home", type=Path, required=True, help="The state folder of a stack that is up.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    address: str = json.loads((options.home / "run.json").read_text())["database_url"]
    result = asyncio.run(measure(address, rows=options.rows))
    print(json.dumps({name: round(value, 2) for name, value in result.items()}, indent=2))


if __name__ == "__main__":
    main()

"""What the ledger adds to the record of a payment: its one statement for a group, and the checks that wait for the commit.

The commit itself is the record's and not counted; ``SET CONSTRAINTS ALL IMMEDIATE`` has the deferred checks made before it.
"""

import statistics
import time
from typing import Any

import psycopg
from sqlalchemy import text

from benchmarks.settlement.plant import plant
from workflows.database.engines import Role, transaction
from workflows.ledger.post import post_completions

GROUP = 50
_NOW = text("SET CONSTRAINTS ALL IMMEDIATE")


async def post_groups(address: str, *, run: str, payments: int) -> dict[str, float]:
    """Milliseconds per payment in groups of ``GROUP``: the median group, of payments of which a third has a fee."""
    plant(address, run=run, stores=1, payments=payments)
    with psycopg.connect(address) as connection:
        found = connection.execute("SELECT id FROM payments WHERE store_id = %s ORDER BY id", [f"sto_{run}_000001"])
        moved: Any = [{"id": row[0], "status": "completed"} for row in found]
    taken = []
    for start in range(0, len(moved), GROUP):
        async with transaction(Role.WORKER) as worker:
            started = time.perf_counter()
            await post_completions(worker, moved[start : start + GROUP], "bench")
            await worker.execute(_NOW)
            taken.append(time.perf_counter() - started)
    return {"post_ms_per_payment": statistics.median(taken) * 1_000 / GROUP}

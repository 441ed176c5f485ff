"""Measure what the ledger adds to the recording of a payment: one statement per group, and its deferred checks.

The commit itself belongs to the recording and is not counted; ``SET CONSTRAINTS ALL IMMEDIATE`` runs the deferred checks
before it.
"""

import statistics
import time
from typing import Any

import psycopg
from sqlalchemy import text

from benchmarks.settlement.create_data import create_payments
from workflows.database.engines import Role, transaction
from workflows.ledger.post_journals import post_completions

GROUP = 50
_NOW = text("SET CONSTRAINTS ALL IMMEDIATE")


async def post_groups(address: str, *, run: str, payments: int) -> dict[str, float]:
    """Return the milliseconds per payment of the median group of ``GROUP`` payments.

    A third of the payments have a fee.
    """
    create_payments(address, run=run, stores=1, payments=payments)
    with psycopg.connect(address) as connection:
        found = connection.execute("SELECT id FROM payments WHERE store_id = %s ORDER BY id", [f"sto_{run}_000001"])
        moved: Any = [{"id": row[0], "status": "completed"} for row in found]
    taken = []
    for start in range(0, len(moved), GROUP):
        async with transaction(Role.WORKER) as worker:
            started = time.perf_counter()
            await post_completions(worker, moved[start : start + GROUP])
            await worker.execute(_NOW)
            taken.append(time.perf_counter() - started)
    return {"post_ms_per_payment": statistics.median(taken) * 1_000 / GROUP}

"""Health: check that the database can store a payment now.

A database that answers may still refuse every payment: after a failover it is read-only, a grant may be missing, its disk
may be full. So the probe writes the row that an accept writes first, rolls it back, and makes the server write a temporary
file.
"""

import asyncio

import uuid_utils
from sqlalchemy import text

from workflows.database.engines import Role, transaction
from workflows.errors import ServiceUnavailable

ANSWER_WITHIN_SECONDS = 3.0
"""A frozen server neither answers nor disconnects; the probe must still return before its caller's timeout."""

_MISSING = text("""
    -- missing: grants without which payments cannot be accepted or processed
    SELECT bool_or(NOT has_table_privilege(r.role, r.name, r.privilege))
    FROM (VALUES
        ('mpac_accept', 'stores', 'SELECT'), ('mpac_accept', 'devices', 'SELECT'),
        ('mpac_accept', 'store_providers', 'SELECT'), ('mpac_accept', 'payments', 'INSERT'),
        ('mpac_accept', 'payment_history', 'INSERT'), ('mpac_accept', 'idempotency_records', 'INSERT'),
        ('mpac_worker', 'payments', 'UPDATE'), ('mpac_worker', 'payment_history', 'INSERT'),
        ('mpac_worker', 'payment_attempts', 'INSERT')
    ) AS r(role, name, privilege)
""")
_WRITE = text("""
    INSERT INTO idempotency_records (merchant_id, method, path, key, fingerprint, status, body, created_at, expires_at)
    VALUES ('', 'GET', '/health/ready', :key, '', 0, '', now(), now())
""")
_LITTLE_MEMORY = text("SET LOCAL work_mem = '64kB'")
_SPILL = text(
    "SELECT count(*) FROM generate_series(1, 20000)"
)  # 280 kB: a temporary file, which needs room on the disk


async def database_takes_payments() -> None:
    """Raise ``ServiceUnavailable`` if the database cannot store a payment, or does not answer in time."""
    probe = asyncio.ensure_future(_probe())
    # It is not cancelled on a timeout: cancelling a statement needs another answer of the server.
    done, _ = await asyncio.wait({probe}, timeout=ANSWER_WITHIN_SECONDS)
    if not done:
        probe.add_done_callback(lambda late: late.exception())  # or asyncio would log that nobody retrieved it
        raise ServiceUnavailable(retry_after_seconds=1)
    probe.result()


async def _probe() -> None:
    async with transaction(Role.ACCEPT) as connection:
        if (await connection.execute(_MISSING)).scalar_one():
            raise ServiceUnavailable(retry_after_seconds=1)
        await connection.execute(_WRITE, {"key": uuid_utils.uuid7().hex})
        await connection.execute(_LITTLE_MEMORY)
        await connection.execute(_SPILL)
        await connection.rollback()

"""Health probes: check that the database can store a payment now, and share one check among all callers.

A database that answers may still refuse every payment: after a failover it is read-only, a grant may be missing, its disk may
be full. The probe therefore writes the row that accepting a payment writes first, rolls it back, and makes the server write a
temporary file.

Probes such as ``/health/ready`` need no token, so their callers are not rate-limited. Without ``SingleFlight``, a flood of
probes would take every database connection that payments need.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import uuid_utils
from sqlalchemy import text

from workflows.database.engines import Role, transaction
from workflows.errors import ServiceUnavailable

ANSWER_WITHIN_SECONDS = 3.0
"""Timeout of the probe, shorter than its callers': a frozen server neither answers nor disconnects."""

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
    # The probe is not cancelled on a timeout, because cancelling a statement needs another answer of the server.
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


Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """A probe that runs at most once at a time on an event loop. Concurrent callers share the run."""

    def __init__(self, probe: Callable[[], Awaitable[Result]]) -> None:
        self._probe = probe
        self._running: asyncio.Task[Result] | None = None

    async def result(self) -> Result:
        """Return the result of the run in progress, or of a new run. Raises the exceptions of the probe."""
        loop = asyncio.get_running_loop()
        if self._running is None or self._running.done() or self._running.get_loop() is not loop:
            self._running = loop.create_task(self._run())
        # A caller that disconnects must not cancel the run for the others.
        return await asyncio.shield(self._running)

    async def _run(self) -> Result:
        return await self._probe()

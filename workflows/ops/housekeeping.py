"""Housekeeping: throw away what has expired, a page per transaction, so that no lock is held for long."""

import asyncio

from sqlalchemy import text

from workflows.database.engines import Role, transaction

LONGEST_SECONDS = 20.0
"""One call ends before beat sends the next (``beat.schedule``: every 30 s); what is left then is the next one's."""

_EXPIRED_KEYS = text("""
    -- Expired, asked twice: a key that is given to a new request this very moment is waited for, and looked at again then.
    -- (PostgreSQL before its fix "missing EPQ recheck for TID Scan" of 2025 did not ask for the ctid again then.)
    DELETE FROM idempotency_records WHERE expires_at <= now() AND ctid IN (
        SELECT ctid FROM idempotency_records WHERE expires_at <= now() LIMIT :limit)
""")
_EXPIRED_ASSERTIONS = text("""
    DELETE FROM used_assertions WHERE ctid IN (SELECT ctid FROM used_assertions WHERE expires_at <= now() LIMIT :limit)
""")


async def forget_expired(*, limit: int = 1_000, longest_seconds: float = LONGEST_SECONDS) -> int:
    """Delete idempotency records and used assertions that are past their time; returns how many.

    Pages of up to ``limit`` rows of each table, one transaction each, until one finds less than a page of both or
    ``longest_seconds`` are over.
    """
    clock = asyncio.get_running_loop().time
    ends_at = clock() + longest_seconds
    forgotten = 0
    while True:
        keys, assertions = await _forget_page(limit)
        forgotten += keys + assertions
        if max(keys, assertions) < limit or clock() >= ends_at:
            return forgotten


async def _forget_page(limit: int) -> tuple[int, int]:
    async with transaction(Role.SWEEP) as connection:
        keys = await connection.execute(_EXPIRED_KEYS, {"limit": limit})
        assertions = await connection.execute(_EXPIRED_ASSERTIONS, {"limit": limit})
    return int(keys.rowcount), int(assertions.rowcount)

"""Housekeeping: delete expired rows, one page per transaction, so that no lock is held for long."""

import asyncio

from sqlalchemy import text

from workflows.database.engines import Role, transaction

LONGEST_SECONDS = 20.0
"""Time limit of a call. The next call (``beat.timetable``: every 30 s) deletes the rest."""

_EXPIRED_KEYS = text("""
    -- The condition is here twice: if a new request is overwriting a record, the DELETE waits for it and checks it again.
    -- (Before its fix "missing EPQ recheck for TID Scan" of 2025, PostgreSQL did not check the ctid again.)
    DELETE FROM idempotency_records WHERE expires_at <= now() AND ctid IN (
        SELECT ctid FROM idempotency_records WHERE expires_at <= now() LIMIT :limit)
""")
_EXPIRED_ASSERTIONS = text("""
    DELETE FROM used_assertions WHERE ctid IN (SELECT ctid FROM used_assertions WHERE expires_at <= now() LIMIT :limit)
""")


async def forget_expired(*, limit: int = 1_000, longest_seconds: float = LONGEST_SECONDS) -> int:
    """Delete expired idempotency records and used assertions, and return their number.

    Each transaction deletes up to ``limit`` rows of each table. The call ends when neither table has a full page left, or
    after ``longest_seconds``.
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

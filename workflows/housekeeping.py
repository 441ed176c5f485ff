"""Housekeeping: throw away what has expired, in small pieces, so that no lock is held for long."""

from sqlalchemy import text

from workflows.database import Role, transaction

_EXPIRED_KEYS = text("""
    DELETE FROM idempotency_records WHERE ctid IN (
        SELECT ctid FROM idempotency_records WHERE expires_at <= now() LIMIT :limit)
""")
_EXPIRED_ASSERTIONS = text("""
    DELETE FROM used_assertions WHERE ctid IN (SELECT ctid FROM used_assertions WHERE expires_at <= now() LIMIT :limit)
""")


async def forget_expired(*, limit: int = 1_000) -> int:
    """Delete up to ``limit`` idempotency records and used assertions each that are past their time; returns how many."""
    async with transaction(Role.SWEEP) as connection:
        keys = await connection.execute(_EXPIRED_KEYS, {"limit": limit})
        assertions = await connection.execute(_EXPIRED_ASSERTIONS, {"limit": limit})
    return int(keys.rowcount) + int(assertions.rowcount)

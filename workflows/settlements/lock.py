"""Lock a settlement and its statements, and read them under the lock.

A lock and the reading of data are separate statements. A statement that waits for a lock took its snapshot before the wait:
PostgreSQL then reads the locked row again (EvalPlanQual), but not subqueries, other tables or ``now()``. The data for a
decision is therefore read by the next statement, under the lock.

| lock       | taken by                   | order                                                       |
|------------|----------------------------|-------------------------------------------------------------|
| settlement | runs, resolutions          | first; several settlements in the order of their ids        |
| statements | uploads, runs, resolutions | second; an upload takes this lock only                      |
"""

from collections.abc import Collection
from typing import cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.models import LockedSettlement

_SETTLEMENTS = text("SELECT id FROM settlements WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")
_STATEMENTS = text("SELECT pg_advisory_xact_lock(hashtextextended('statements of ' || CAST(:id AS text), 0))")
_READ = text("SELECT *, clock_timestamp() AS now FROM settlements WHERE id = :id")


async def lock_settlements(connection: AsyncConnection, settlement_ids: Collection[str]) -> None:
    """Lock these settlements against runs, closes and resolutions, and their statements against uploads."""
    ids = sorted(set(settlement_ids))
    await connection.execute(_SETTLEMENTS, {"ids": ids})
    for settlement_id in ids:
        await lock_statements(connection, settlement_id)


async def lock_statements(connection: AsyncConnection, settlement_id: str) -> None:
    """Lock the statements of a settlement: no other transaction can store one until this transaction ends."""
    await connection.execute(_STATEMENTS, {"id": settlement_id})


async def read_locked(connection: AsyncConnection, settlement_id: str) -> LockedSettlement:
    """Return the row of a locked settlement, with ``now``, the time after the lock was taken."""
    row = (await connection.execute(_READ, {"id": settlement_id})).mappings().one()
    return cast(LockedSettlement, dict(row))

"""Find settlements whose period has ended, for the sweeps."""

from datetime import timedelta

from sqlalchemy import text

from workflows.database.engines import Role, transaction
from workflows.processing.due import DueRow

GRACE = timedelta(seconds=5)
"""A close waits this long after the end for payments that are just being recorded. Without it there would only be more
late lines."""

_DUE = text("""
    -- due: one page of ids, longest overdue first
    SELECT id, end_at FROM settlements WHERE status = 'open' AND end_at <= now() - CAST(:grace AS interval)
    ORDER BY end_at, id LIMIT :limit
""")


async def find_due_settlements(*, limit: int) -> list[DueRow]:
    """Return up to ``limit`` settlements to close, longest overdue first."""
    async with transaction(Role.SWEEP) as connection:
        found = await connection.execute(_DUE, {"limit": limit, "grace": GRACE})
        return [DueRow(row.id, row.end_at, "period_ended") for row in found]

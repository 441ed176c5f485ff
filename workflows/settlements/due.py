"""Due: which settlements have come to their end (see ``workflows.processing.due``)."""

from datetime import timedelta

from sqlalchemy import text

from workflows.database.engines import Role, transaction
from workflows.processing.due import DueRow

GRACE = timedelta(seconds=5)
"""A close waits this long beyond the end for what was being recorded just then; without it there would merely be more
late lines."""

_DUE = text("""
    -- due: the ids of one page, longest overdue first
    SELECT id, end_at FROM settlements WHERE status = 'open' AND end_at <= now() - CAST(:grace AS interval)
    ORDER BY end_at, id LIMIT :limit
""")


async def find_due_settlements(*, limit: int) -> list[DueRow]:
    """Up to ``limit`` settlements that are to be closed, longest overdue first."""
    async with transaction(Role.SWEEP) as connection:
        found = await connection.execute(_DUE, {"limit": limit, "grace": GRACE})
        return [DueRow(row.id, row.end_at, "period_ended") for row in found]

"""Due: which refunds somebody should look at now (as ``workflows.payments.due``)."""

from sqlalchemy import text

from workflows.database import Role, transaction
from workflows.payments.due import Due

_DUE = text("""
    -- due: the ids of one page, longest overdue first, with why
    SELECT id, due_at, CASE
        WHEN status = 'pending' THEN 'lost_nudge'
        WHEN lease_until IS NOT NULL THEN 'run_out_lease'
        WHEN NOT outcome_known THEN 'inquiry'
        ELSE 'retry' END AS why
    FROM refunds WHERE due_at <= now() ORDER BY due_at LIMIT :limit
""")


async def find_due_refunds(*, limit: int) -> list[Due]:
    """Up to ``limit`` refunds, longest overdue first."""
    async with transaction(Role.SWEEP) as connection:
        return [Due(row.id, row.due_at, row.why) for row in await connection.execute(_DUE, {"limit": limit})]

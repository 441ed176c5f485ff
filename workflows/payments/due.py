"""Due: which rows somebody should look at now. The sweeps page through it; nothing is changed here.

One column, ``due_at``, answers for every reason: a nudge that was lost, a lease that ran out, a retry or a question
whose time has come, a code to poll, a payment that expired. Finding them is one partial index per table.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from workflows.database import Role, transaction

_DUE = text("""
    -- due: the ids of one page, longest overdue first, with why
    SELECT id, due_at, CASE
        WHEN status = 'pending' AND expires_at <= now() AND processing_mode = 'provider' THEN 'expired'
        WHEN status = 'pending' THEN 'lost_nudge'
        WHEN lease_until IS NOT NULL THEN 'run_out_lease'
        WHEN NOT outcome_known THEN 'inquiry'
        WHEN next_action IS NOT NULL THEN 'poll'
        ELSE 'retry' END AS why
    FROM payments WHERE due_at <= now() ORDER BY due_at LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Due:
    """A row that is due since ``due_at``, and why."""

    id: str
    due_at: datetime
    why: str


async def find_due_payments(*, limit: int) -> list[Due]:
    """Up to ``limit`` payments, longest overdue first."""
    async with transaction(Role.SWEEP) as connection:
        return [Due(row.id, row.due_at, row.why) for row in await connection.execute(_DUE, {"limit": limit})]

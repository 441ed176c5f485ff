"""Due: which rows somebody should look at now. The sweeps page through it; nothing is changed here.

One column, ``due_at``, answers for every reason: a nudge that was lost, a lease that ran out, a retry or a question
whose time has come, a code to poll, a payment that expired. Finding them is one partial index per table.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, text

from workflows.database.engines import Role, transaction
from workflows.payments.ahead import DUE_AHEAD
from workflows.settings import Settings

PAGES = 10
"""Pages that are searched for rows of other providers, if one provider alone fills a page."""


def due_statement(entity: str, why: str) -> TextClause:
    """Return the query for due rows; ``why`` is an SQL expression for the reason."""
    return text(f"""
        -- due: a page of ids for each provider, longest overdue first, with why: one that hangs must not hide the others
        SELECT id, due_at, why FROM (
            SELECT id, due_at, why, row_number() OVER (PARTITION BY provider ORDER BY due_at) AS place FROM (
                SELECT id, due_at, provider, {why} AS why FROM {entity}s
                WHERE due_at <= now() ORDER BY due_at LIMIT {PAGES} * :limit
            ) AS oldest
        ) AS placed WHERE place <= :limit ORDER BY due_at
    """)


def ahead_statement(entity: str) -> TextClause:
    """Return the query for rows that are due later than any schedule sets (``ahead``), the furthest ahead first."""
    return text(f"""
        -- ahead: the database's clock was set back since these were written
        SELECT id, due_at, 'clock_set_back' AS why FROM {entity}s r
        WHERE r.due_at > now() + make_interval(secs => :grace) AND (r.status = 'pending' OR {DUE_AHEAD})
        ORDER BY r.due_at DESC LIMIT :limit
    """)


_DUE = due_statement(
    "payment",
    """CASE
        WHEN status = 'pending' AND expires_at <= now() AND processing_mode = 'provider' THEN 'expired'
        WHEN status = 'pending' THEN 'lost_nudge'
        WHEN lease_until IS NOT NULL THEN 'run_out_lease'
        WHEN NOT outcome_known THEN 'inquiry'
        WHEN next_action IS NOT NULL THEN 'poll'
        ELSE 'retry' END""",
)
_AHEAD = ahead_statement("payment")


@dataclass(frozen=True, slots=True)
class Due:
    """A row that is due since ``due_at``, and why."""

    id: str
    due_at: datetime
    why: str


async def find_due_payments(*, limit: int) -> list[Due]:
    """Return up to ``limit`` payments of each provider, longest overdue first."""
    return await look(_DUE, limit=limit)


async def find_payments_ahead(*, limit: int, settings: Settings) -> list[Due]:
    """Return up to ``limit`` payments whose due time no schedule can have set."""
    return await look(_AHEAD, limit=limit, **slack(settings))


def slack(settings: Settings) -> dict[str, float]:
    """Return the parameters of ``ahead_statement``: how far ahead a new row and a leased one are due."""
    return {"grace": 2 * settings.nudge_grace_seconds, "lease": settings.lease_seconds}


async def look(statement: TextClause, **parameters: float) -> list[Due]:
    """Run one of the queries above and return its rows."""
    async with transaction(Role.SWEEP) as connection:
        return [Due(row.id, row.due_at, row.why) for row in await connection.execute(statement, parameters)]

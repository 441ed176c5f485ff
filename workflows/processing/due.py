"""Query which rows are due now. The sweeps page through the result and send nudges; nothing is changed here.

One column, ``due_at``, answers for every reason: a nudge that was lost, a lease that ran out, a retry or an inquiry
whose time has come, a code to poll, a payment that expired. One partial index per table finds these rows.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, text

from workflows.database.engines import Role, transaction
from workflows.processing.clock_set_back import DUE_AHEAD
from workflows.settings import Settings

PAGES = 10
"""Pages that are searched for rows of other providers if the rows of one provider alone fill a page."""


@dataclass(frozen=True, slots=True)
class DueRow:
    """A row that has been due since ``due_at``, and the reason."""

    id: str
    due_at: datetime
    why: str


def due_statement(entity: str, why: str) -> TextClause:
    """Return the query for due rows; ``why`` is an SQL expression for the reason."""
    return text(f"""
        -- due: for each provider a page of ids with reasons, longest overdue first: one hanging provider must not hide others
        SELECT id, due_at, why FROM (
            SELECT id, due_at, why, row_number() OVER (PARTITION BY provider ORDER BY due_at) AS place FROM (
                SELECT id, due_at, provider, {why} AS why FROM {entity}s
                WHERE due_at <= now() ORDER BY due_at LIMIT {PAGES} * :limit
            ) AS oldest
        ) AS placed WHERE place <= :limit ORDER BY due_at
    """)


def ahead_statement(entity: str) -> TextClause:
    """Return the query for rows that are due later than any schedule sets, the furthest ahead first."""
    return text(f"""
        -- ahead: the database's clock was set back since these rows were written (clock_set_back)
        SELECT id, due_at, 'clock_set_back' AS why FROM {entity}s r
        WHERE r.due_at > now() + make_interval(secs => :grace) AND (r.status = 'pending' OR {DUE_AHEAD})
        ORDER BY r.due_at DESC LIMIT :limit
    """)


async def find_due(statement: TextClause, *, limit: int) -> list[DueRow]:
    """Return up to ``limit`` rows of each provider by a ``due_statement``, longest overdue first."""
    return await _find(statement, limit=limit)


async def find_ahead(statement: TextClause, *, limit: int, settings: Settings) -> list[DueRow]:
    """Return up to ``limit`` rows by an ``ahead_statement``, the furthest ahead first.

    The grace and the lease of the settings bound how far ahead a new row and a leased row may be due.
    """
    return await _find(statement, limit=limit, grace=2 * settings.nudge_grace_seconds, lease=settings.lease_seconds)


async def _find(statement: TextClause, **parameters: float) -> list[DueRow]:
    async with transaction(Role.SWEEP) as connection:
        return [DueRow(row.id, row.due_at, row.why) for row in await connection.execute(statement, parameters)]

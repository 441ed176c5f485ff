"""Find payments and refunds that are due now. The sweeps page through the result and send nudges; nothing is changed here.

One column, ``due_at``, covers every reason: a lost nudge, an expired lease, a retry or inquiry whose time has come, a pending
QR code to poll, an expired payment.

The rows that may be due are listed in a narrow table, ``due_payments`` or ``due_refunds``, which triggers keep (migration
0027). An index on ``payments.due_at`` would cost every claim and record an entry in each index of the table. In the narrow
table ``due_at`` is a lower bound: a row is never due earlier, but a claimed one is due later, so each row is looked up.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, text

from workflows.database.engines import Role
from workflows.database.hot_path import execute_alone
from workflows.processing.delays import DUE_AHEAD
from workflows.settings import Settings

PAGES = 10
"""Pages that are searched for rows of other providers if the rows of one provider alone fill a page."""

_WHY = {
    "payment": """CASE
        WHEN status = 'pending' AND expires_at <= now() AND processing_mode = 'provider' THEN 'expired'
        WHEN status = 'pending' THEN 'lost_nudge'
        WHEN lease_until IS NOT NULL THEN 'run_out_lease'
        WHEN NOT outcome_known THEN 'inquiry'
        WHEN next_action IS NOT NULL THEN 'poll'
        ELSE 'retry' END""",
    "refund": """CASE
        WHEN status = 'pending' THEN 'lost_nudge'
        WHEN lease_until IS NOT NULL THEN 'run_out_lease'
        WHEN NOT outcome_known THEN 'inquiry'
        ELSE 'retry' END""",
}
"""Entity → SQL expression for the reason why a row is due."""


@dataclass(frozen=True, slots=True)
class DueRow:
    """A row for the sweeps to nudge: its due time, and the reason."""

    id: str
    due_at: datetime
    why: str


def _due(entity: str) -> TextClause:
    return text(f"""
        -- due: for each provider a page of ids with reasons, longest overdue first: one hanging provider must not hide others
        SELECT id, due_at, why FROM (
            SELECT id, due_at, why, row_number() OVER (PARTITION BY provider ORDER BY due_at) AS place FROM (
                SELECT r.id, r.due_at, r.provider, {_WHY[entity]} AS why
                FROM due_{entity}s d JOIN {entity}s r ON r.id = d.id
                WHERE d.due_at <= now() AND r.due_at <= now() ORDER BY d.due_at LIMIT {PAGES} * :limit
            ) AS oldest
        ) AS placed WHERE place <= :limit ORDER BY due_at
    """)


def _ahead(entity: str) -> TextClause:
    return text(f"""
        -- ahead: rows due later than any schedule sets, furthest ahead first: the database's clock was set back (delays)
        SELECT r.id, r.due_at, 'clock_set_back' AS why FROM due_{entity}s d JOIN {entity}s r ON r.id = d.id
        WHERE r.due_at > now() + make_interval(secs => :grace) AND (r.status = 'pending' OR {DUE_AHEAD})
        ORDER BY r.due_at DESC LIMIT :limit
    """)


_DUE = {entity: _due(entity) for entity in _WHY}
_AHEAD = {entity: _ahead(entity) for entity in _WHY}


async def find_due_payments(*, limit: int) -> list[DueRow]:
    """Return up to ``limit`` due payments of each provider, longest overdue first."""
    return await _find(_DUE["payment"], limit=limit)


async def find_due_refunds(*, limit: int) -> list[DueRow]:
    """Return up to ``limit`` due refunds of each provider, longest overdue first."""
    return await _find(_DUE["refund"], limit=limit)


async def find_payments_ahead(*, limit: int, settings: Settings) -> list[DueRow]:
    """Return up to ``limit`` payments that are due later than any schedule sets, the furthest ahead first."""
    return await _find_ahead("payment", limit=limit, settings=settings)


async def find_refunds_ahead(*, limit: int, settings: Settings) -> list[DueRow]:
    """Return up to ``limit`` refunds that are due later than any schedule sets, the furthest ahead first."""
    return await _find_ahead("refund", limit=limit, settings=settings)


async def _find_ahead(entity: str, *, limit: int, settings: Settings) -> list[DueRow]:
    """Find rows that are due too far ahead.

    A pending row may be due at most twice the nudge grace ahead; ``DUE_AHEAD`` has the limits for rows in ``processing``.
    """
    grace, lease = 2 * settings.nudge_grace_seconds, settings.lease_seconds
    return await _find(_AHEAD[entity], limit=limit, grace=grace, lease=lease)


async def _find(statement: TextClause, **parameters: float) -> list[DueRow]:
    found = await execute_alone(Role.SWEEP, statement, parameters)
    return [DueRow(row["id"], row["due_at"], row["why"]) for row in found]

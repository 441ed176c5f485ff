"""Count the business days that wait for a person: lines without a statement, open breaks, uncounted cash.

Only the oldest ``AT_MOST`` closed settlements are counted; the index of closed settlements returns them in order. So stores
that never sign off their days do not make a scrape slower.
"""

from dataclasses import dataclass

from sqlalchemy import text

from workflows.database.engines import Role, transaction

AT_MOST = 10_000

_WAITS = {
    "uncompared": "coalesce(CAST(uncompared ->> 'needs_acceptance' AS boolean), false)",
    "breaks": "open_breaks > 0",
    "cash": "cash_expected <> 0 AND cash_actual IS NULL",
}
"""Reason → the SQL condition for a day that waits for it. A day may wait for several reasons."""

_REASONS = ", ".join(f"('{reason}', {condition})" for reason, condition in _WAITS.items())
_COUNT = text(f"""
    -- waiting days: by what they wait for
    SELECT w.reason, count(*) AS count,
           extract(epoch FROM now() - min(s.end_at))::float AS oldest_seconds
    FROM (SELECT end_at, uncompared, open_breaks, cash_expected, cash_actual
          FROM settlements WHERE status = 'closed' ORDER BY end_at LIMIT {AT_MOST}) s
    CROSS JOIN LATERAL (VALUES {_REASONS}) AS w(reason, is_so) WHERE w.is_so GROUP BY w.reason
""")


@dataclass(frozen=True, slots=True)
class WaitingDays:
    """The number of days that wait for ``reason``, and the time since the oldest of them ended."""

    reason: str
    count: int
    oldest_seconds: float


async def count_waiting_days() -> tuple[WaitingDays, ...]:
    """Return one row for each reason. Raises ``ServiceUnavailable`` if the database is away."""
    async with transaction(Role.ACCEPT, is_long=True) as connection:
        rows = (await connection.execute(_COUNT)).mappings().all()
    found = {row["reason"]: WaitingDays(**row) for row in rows}
    return tuple(found.get(reason, WaitingDays(reason, 0, 0.0)) for reason in _WAITS)

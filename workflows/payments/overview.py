"""Overview: what is under way, what is in doubt and what was given up on, over all tenants, at this moment.

Every row that is not final has a ``due_at`` or a quarantine, so the numbers come from what is open and never from the
whole table, however large that is.
"""

from dataclasses import dataclass

from sqlalchemy import text

from workflows.database import Role, transaction

_OPEN = text("""
    -- open: payments that are not final, by status, provider and whether their outcome is known
    SELECT status, provider, outcome_known, count(*) AS count, sum(amount + tip_amount)::bigint AS amount,
           extract(epoch FROM now() - min(coalesce(in_doubt_since, created_at)))::float AS oldest_seconds,
           count(*) FILTER (WHERE due_at < now() - interval '60 seconds') AS overdue
    FROM payments WHERE due_at IS NOT NULL GROUP BY status, provider, outcome_known
""")
_LETTERS = text("SELECT count(*) FROM dead_letters WHERE requeued_at IS NULL")
_QUEUES = text("""
    SELECT queue, extract(epoch FROM now() - coalesce(consumed_at, sent_at))::float AS silent_seconds FROM canaries
""")


@dataclass(frozen=True, slots=True)
class OpenPayments:
    """Payments of one status and provider that are not final. ``amount`` is minor units, all currencies added."""

    status: str
    provider: str
    outcome_known: bool
    count: int
    amount: int
    oldest_seconds: float
    overdue: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the installation in numbers."""

    payments: tuple[OpenPayments, ...]
    dead_letters: int
    silent_seconds: dict[str, float]


async def take_overview() -> Overview:
    """The overview as of now. Raises ``ServiceUnavailable`` where the database is away."""
    async with transaction(Role.ACCEPT) as connection:
        payments = tuple(OpenPayments(**row) for row in (await connection.execute(_OPEN)).mappings())
        letters = (await connection.execute(_LETTERS)).scalar_one()
        queues = {row.queue: row.silent_seconds for row in await connection.execute(_QUEUES)}
    return Overview(payments, letters, queues)

"""Overview: what is under way, what is in doubt and what was given up on, over all tenants, at this moment.

Counts are by status, provider and currency, because amounts of two currencies have no sum. Every row that is not final has a
``due_at``, or nobody knows its outcome and a person is to look at it (a quarantine, another amount than was asked for). Both
are in an index, so the numbers come from what is open and never from the whole table, however large that is.
"""

import math
from dataclasses import dataclass

from sqlalchemy import text

from workflows.canaries import BEAT, since_start
from workflows.database import Role, transaction

MONEY = {"payment": "amount + tip_amount", "refund": "amount"}
"""Entity → what one row of it is about."""

_NONE_NEEDS_ACTION = "0 AS needs_action, 0::float AS needs_action_oldest_seconds"
_NEEDING_ACTION = """count(*) FILTER (WHERE needs_action) AS needs_action,
           coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE needs_action)), 0)::float
               AS needs_action_oldest_seconds"""
BY_HAND = {"payment": (_NONE_NEEDS_ACTION, ""), "refund": (_NEEDING_ACTION, "OR needs_action")}
"""Entity → the columns about refunds that a person has to carry out, and a condition that finds them although none is due."""


def _open(entity: str) -> str:
    by_hand, or_by_hand = BY_HAND[entity]
    return f"""
    SELECT '{entity}' AS entity, status, provider, currency, count(*) AS open,
           count(*) FILTER (WHERE due_at < now() - interval '60 seconds') AS overdue,
           count(*) FILTER (WHERE needs_review) AS needs_review,
           count(*) FILTER (WHERE NOT outcome_known) AS in_doubt,
           coalesce(sum({MONEY[entity]}) FILTER (WHERE NOT outcome_known), 0)::bigint AS in_doubt_amount,
           coalesce(extract(epoch FROM now() - min(coalesce(in_doubt_since, created_at)) FILTER (WHERE NOT outcome_known)),
                    0)::float AS in_doubt_oldest_seconds,
           {by_hand}
    FROM {entity}s WHERE due_at IS NOT NULL OR NOT outcome_known {or_by_hand} GROUP BY status, provider, currency
    """


# open: payments and refunds that are not final, by status, provider and currency
_OPEN = text(" UNION ALL ".join(_open(entity) for entity in MONEY))
_LETTERS = text("SELECT count(*) FROM dead_letters WHERE requeued_at IS NULL")
_QUEUES = text("""
    SELECT queue, abs(extract(epoch FROM now() - coalesce(consumed_at, sent_at)))::float AS silent_seconds FROM canaries
""")


@dataclass(frozen=True, slots=True)
class OpenRows:
    """Payments or refunds of one status, provider and currency that are not final. Amounts: minor units."""

    entity: str
    status: str
    provider: str
    currency: str
    open: int
    overdue: int
    needs_review: int
    in_doubt: int
    in_doubt_amount: int
    in_doubt_oldest_seconds: float
    needs_action: int
    needs_action_oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the installation in numbers."""

    open: tuple[OpenRows, ...]
    dead_letters: int
    silent_seconds: dict[str, float]
    beat_silent_seconds: float


async def take_overview() -> Overview:
    """The overview as of now. Raises ``ServiceUnavailable`` where the database is away."""
    async with transaction(Role.ACCEPT, is_long=True) as connection:
        rows = tuple(OpenRows(**row) for row in (await connection.execute(_OPEN)).mappings())
        letters = (await connection.execute(_LETTERS)).scalar_one()
        queues = {row.queue: row.silent_seconds for row in await connection.execute(_QUEUES)}
    beat = since_start(queues.pop(BEAT, math.inf))
    return Overview(rows, letters, queues, beat)

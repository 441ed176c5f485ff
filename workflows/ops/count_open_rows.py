"""Count the rows that are not finished yet, over all tenants, for the metrics and the command line.

| function                    | counts                                                                                      |
|-----------------------------|---------------------------------------------------------------------------------------------|
| ``read_overview``           | payments, refunds and dead letters that are open, in doubt or in review                      |
| ``count_waiting_days``      | closed business days that wait for a person                                                  |
| ``count_open_settlements``  | settlements that are not reconciled, and their open breaks                                   |

Payments and refunds are counted by status, provider and currency, because amounts of two currencies have no sum. Every row
that is not final has a ``due_at``, has an unknown outcome, or waits for a person (a quarantine, an amount other than
requested, a sale that was paid twice). There is an index for each of these, or a narrow table (``due_payments``), so only open
rows are read, however large the table is.

Each store has one open settlement per currency. Of closed ones, only the oldest ``AT_MOST`` are counted, which
their index returns in order, so stores that never sign off their days do not make a scrape slower.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import text

from workflows.database.engines import Role, transaction
from workflows.database.mixins import OVERDUE
from workflows.ops.liveness import BEAT, since_start

MONEY = {"payment": "amount + tip_amount", "refund": "amount"}
"""The SQL expression for the amount of a row, by entity."""

_NO_ACTION = "0 AS needs_action, 0::bigint AS needs_action_amount, 0::float AS needs_action_oldest_seconds"
BY_HAND = {"payment": (_NO_ACTION, ""), "refund": ("", "OR needs_action")}
"""For each entity: constant columns ``needs_action…``, if any, and an extra condition for open rows.

A person may have to carry out a refund, but never a payment: its columns are zeros.
"""

SINCE = {"open": "created_at", "needs_review": "created_at", "in_doubt": "coalesce(in_doubt_since, created_at)"}
"""The SQL expression for the time since which a row has been in a group. Other groups use the time of creation."""

NOT_FINAL = "status IN ('pending', 'processing')"


def _group(entity: str, name: str, condition: str) -> str:
    """Return the count, sum and greatest age of the rows that meet ``condition``, as columns.

    The columns are named after the group.
    """
    return f"""
           count(*) FILTER (WHERE {condition}) AS {name},
           coalesce(sum({MONEY[entity]}) FILTER (WHERE {condition}), 0)::bigint AS {name}_amount,
           coalesce(extract(epoch FROM now() - min({SINCE.get(name, "created_at")}) FILTER (WHERE {condition})), 0)::float
               AS {name}_oldest_seconds"""


def _open(entity: str) -> str:
    no_action, or_by_hand = BY_HAND[entity]
    return f"""
    SELECT '{entity}' AS entity, status, provider, currency,
           count(*) FILTER (WHERE {OVERDUE}) AS overdue,
           {_group(entity, "open", NOT_FINAL)},
           {_group(entity, "needs_review", "needs_review")},
           {_group(entity, "in_doubt", "NOT outcome_known")},
           {no_action or _group(entity, "needs_action", "needs_action")}
    FROM {entity}s WHERE id = ANY(ARRAY(SELECT id FROM due_{entity}s)) OR NOT outcome_known OR needs_review {or_by_hand}
    GROUP BY status, provider, currency
    """


# open: payments and refunds that are not final or wait for a person, by status, provider and currency
_OPEN = text(" UNION ALL ".join(_open(entity) for entity in MONEY))
_LETTERS = text("""
    SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float
    FROM dead_letters WHERE requeued_at IS NULL AND closed_at IS NULL
""")
_QUEUES = text("""
    SELECT queue, abs(extract(epoch FROM now() - coalesce(consumed_at, sent_at)))::float AS silent_seconds FROM canaries
""")


@dataclass(frozen=True, slots=True)
class OpenRows:
    """The counts of payments or refunds of one status, provider and currency that are not final or wait for a person.

    Amounts are in minor units.
    """

    entity: str
    status: str
    provider: str
    currency: str
    overdue: int
    open: int
    open_amount: int
    open_oldest_seconds: float
    needs_review: int
    needs_review_amount: int
    needs_review_oldest_seconds: float
    in_doubt: int
    in_doubt_amount: int
    in_doubt_oldest_seconds: float
    needs_action: int
    needs_action_amount: int
    needs_action_oldest_seconds: float


# currencies: one index look-up for each, however many stores there are
_CURRENCIES = text("""
    WITH RECURSIVE c AS (
        (SELECT currency FROM stores ORDER BY currency LIMIT 1)
        UNION ALL
        SELECT (SELECT s.currency FROM stores s WHERE s.currency > c.currency ORDER BY s.currency LIMIT 1)
        FROM c WHERE c.currency IS NOT NULL
    )
    SELECT currency FROM c WHERE currency IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class Overview:
    """The counts of unfinished work, and the currencies of all stores."""

    open: tuple[OpenRows, ...]
    dead_letters: int
    dead_letters_oldest_seconds: float
    silent_seconds: dict[str, float]
    beat_silent_seconds: float
    currencies: tuple[str, ...] = ()


async def read_overview() -> Overview:
    """Return the present counts of unfinished work.

    Raises ``ServiceUnavailable`` if the database is unreachable.
    """
    async with transaction(Role.ACCEPT, is_long=True) as connection:
        rows = tuple(OpenRows(**row) for row in (await connection.execute(_OPEN)).mappings())
        currencies = tuple((await connection.execute(_CURRENCIES)).scalars())
        letters, letters_oldest = (await connection.execute(_LETTERS)).one()
        queues = {row.queue: row.silent_seconds for row in await connection.execute(_QUEUES)}
    beat = since_start(queues.pop(BEAT, math.inf))
    return Overview(rows, letters, letters_oldest, queues, beat, currencies)


AT_MOST = 10_000

_WAITS = {
    "uncompared": "coalesce(CAST(uncompared ->> 'needs_acceptance' AS boolean), false)",
    "breaks": "open_breaks > 0",
    "cash": "cash_expected <> 0 AND cash_actual IS NULL",
}
"""The SQL condition of each reason for which a day waits. A day may wait for several reasons."""

_REASONS = ", ".join(f"('{reason}', {condition})" for reason, condition in _WAITS.items())
_COUNT_DAYS = text(f"""
    -- waiting days: by the reason for which they wait
    SELECT w.reason, count(*) AS count,
           extract(epoch FROM now() - min(s.end_at))::float AS oldest_seconds
    FROM (SELECT end_at, uncompared, open_breaks, cash_expected, cash_actual
          FROM settlements WHERE status = 'closed' ORDER BY end_at LIMIT {AT_MOST}) s
    CROSS JOIN LATERAL (VALUES {_REASONS}) AS w(reason, is_so) WHERE w.is_so GROUP BY w.reason
""")


@dataclass(frozen=True, slots=True)
class WaitingDays:
    """The number of days that wait for ``reason``, and the seconds since the oldest of them ended."""

    reason: str
    count: int
    oldest_seconds: float


async def count_waiting_days() -> tuple[WaitingDays, ...]:
    """Return the number of waiting days for each reason. Raises ``ServiceUnavailable``."""
    async with transaction(Role.ACCEPT, is_long=True) as connection:
        rows = (await connection.execute(_COUNT_DAYS)).mappings().all()
    found = {row["reason"]: WaitingDays(**row) for row in rows}
    return tuple(found.get(reason, WaitingDays(reason, 0, 0.0)) for reason in _WAITS)


_COUNT_SETTLEMENTS = text(f"""
    SELECT currency, 'open' AS status, count(*), 0 AS open_breaks
    FROM settlements WHERE status = 'open' GROUP BY currency
    UNION ALL
    SELECT currency, 'closed', count(*), sum(open_breaks)::bigint
    FROM (SELECT currency, open_breaks FROM settlements WHERE status = 'closed' ORDER BY end_at LIMIT {AT_MOST}) s
    GROUP BY currency
""")


class OpenSettlements(NamedTuple):
    """The number of settlements of a currency and status, and of their open breaks."""

    currency: str
    status: str
    number: int
    open_breaks: int


async def count_open_settlements() -> list[OpenSettlements]:
    """Return the numbers of open and closed settlements, by currency. Raises ``ServiceUnavailable``."""
    async with transaction(Role.ACCEPT, is_long=True) as connection:
        return [OpenSettlements(*row) for row in await connection.execute(_COUNT_SETTLEMENTS)]

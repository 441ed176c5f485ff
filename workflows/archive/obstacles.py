"""Tell why a month may not be archived yet, in words and with counts.

| a month stays while                                                    | because                             |
|------------------------------------------------------------------------|-------------------------------------|
| it ended less than ``MPAC_ARCHIVE_AFTER_MONTHS`` ago                   | its payments may still be refunded  |
| a payment, a refund of it, or a refund made in that month is not final | it will be written again            |
| one is in doubt, in review, or waits for somebody at the till          | a person will write to it           |
| one is completed and in no settlement                                  | the next close takes it             |
| a settlement with a line of it, or that began in it, is not reconciled | its statement is compared with it   |
| a break about it is not resolved                                       | its resolution books or confirms it |
| a dead letter names one of it                                          | a requeue would process it          |
| an answer that shows one of its payments is stored for repetitions     | a rule compares the two             |
| entries of its journals are in another month                           | half a journal would be archived    |

The age is checked first. Each other check is one statement on the month's own tables and on what is open elsewhere.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.sql import SQL

from workflows.archive.months import Connection, Month

_OPEN_OF_PAYMENTS = """
    SELECT count(*) FILTER (WHERE status IN ('pending', 'processing')) AS open,
           count(*) FILTER (WHERE NOT outcome_known) AS in_doubt,
           count(*) FILTER (WHERE needs_review) AS in_review,
           count(*) FILTER (WHERE needs_action) AS needing_action,
           count(*) FILTER (WHERE completed_at IS NOT NULL AND settlement_id IS NULL) AS unsettled,
           count(*) FILTER (WHERE refund_reserved <> refunded_amount) AS reserved
    FROM {payments}
"""
_PAYMENTS = {
    "open": ("1 payment is not final", "{:,} payments are not final"),
    "in_doubt": ("the outcome of 1 payment is unknown", "the outcomes of {:,} payments are unknown"),
    "in_review": ("1 payment is in review", "{:,} payments are in review"),
    "needing_action": ("1 payment waits for somebody at the till", "{:,} payments wait for somebody at the till"),
    "unsettled": ("1 completed payment is in no settlement", "{:,} completed payments are in no settlement"),
    "reserved": ("1 payment is being refunded", "{:,} payments are being refunded"),
}
_OF_MONTH = "{column} >= '{prefix}' || %(low)s AND {column} < '{prefix}' || %(high)s"
_REFUNDS = f"""
    ({_OF_MONTH.format(column="payment_id", prefix="pay_")} OR {_OF_MONTH.format(column="id", prefix="rfd_")})
"""
_TIME_IN_MONTH = "substr({0}, 5) >= %(low)s AND substr({0}, 5) < %(high)s"

COUNTED = (
    (
        "SELECT count(*) AS count FROM refunds WHERE (status IN ('pending', 'processing') OR needs_review OR needs_action)"
        f" AND {_REFUNDS}",
        "1 refund is open",
        "{:,} refunds are open",
    ),
    (
        f"SELECT count(*) AS count FROM refunds WHERE completed_at IS NOT NULL AND settlement_id IS NULL AND {_REFUNDS}",
        "1 completed refund is in no settlement",
        "{:,} completed refunds are in no settlement",
    ),
    (
        "SELECT count(*) AS count FROM due_payments WHERE " + _OF_MONTH.format(column="id", prefix="pay_"),
        "1 payment is due",
        "{:,} payments are due",
    ),
    (
        f"""SELECT count(DISTINCT b.id) AS count FROM breaks b
            WHERE b.resolution IS NULL AND b.run = (SELECT max(number) FROM reconciliation_runs r
                                                    WHERE r.settlement_id = b.settlement_id)
              AND EXISTS (SELECT FROM unnest(ARRAY[b.entity_id, b.waits_for, b.our_reference]) AS q(id)
                          WHERE {_TIME_IN_MONTH.format("q.id")})""",
        "1 break about it is not resolved",
        "{:,} breaks about it are not resolved",
    ),
    (
        "SELECT count(*) AS count FROM dead_letters WHERE requeued_at IS NULL AND closed_at IS NULL AND "
        + _TIME_IN_MONTH.format("entity_id"),
        "1 dead letter is open",
        "{:,} dead letters are open",
    ),
    (
        "SELECT count(*) AS count FROM idempotency_records WHERE "
        + _OF_MONTH.format(column="resource_id", prefix="pay_"),
        "1 answer is stored for repetitions of its request",
        "{:,} answers are stored for repetitions of their requests",
    ),
)
"""A statement that counts what keeps a month, and the sentences for one and for several."""

_SPLIT_JOURNALS = """
    SELECT count(*) AS count FROM {journals} j FULL JOIN (SELECT DISTINCT journal_id AS id FROM {entries}) e USING (id)
    WHERE j.id IS NULL OR e.id IS NULL
"""
_UNRECONCILED = f"""
    SELECT s.id, s.store_id, count(*) OVER () AS count FROM settlements s
    WHERE s.status <> 'reconciled' AND (
        {_TIME_IN_MONTH.format("s.id")}
        OR EXISTS (SELECT FROM settlement_lines l WHERE l.settlement_id = s.id AND {_TIME_IN_MONTH.format("l.entity_id")}))
    ORDER BY s.id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """The youngest month that may be archived ended ``after_months`` before ``now`` (the database's, if ``None``)."""

    after_months: int
    now: datetime | None = None


def old_enough_from(connection: Connection, month: Month, policy: Policy) -> datetime | None:
    """Return ``None`` if the month is old enough, else the time from which it is."""
    row = connection.execute(
        "SELECT %s::timestamptz + make_interval(months => %s) AS since, coalesce(%s::timestamptz, now()) AS now",
        [month.ends_at, policy.after_months, policy.now],
    ).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM
    return None if row["since"] <= row["now"] else row["since"]


def find_obstacles(connection: Connection, month: Month, policy: Policy) -> list[str]:
    """Return why ``month`` may not be archived: a sentence per reason. An empty list means that it may be.

    The rows of a month that is too young are not read.
    """
    if since := old_enough_from(connection, month, policy):
        return [f"it may be archived from {since:%Y-%m-%d} on, {policy.after_months} months after its end"]
    found: list[str] = []
    names = {name: month.table(name) for name in ("payments", "ledger_journals", "ledger_entries")}
    row = connection.execute(SQL(_OPEN_OF_PAYMENTS).format(payments=names["payments"])).fetchone()
    assert row is not None  # noqa: S101 - an aggregate
    found += [_say(row[name], *sentences) for name, sentences in _PAYMENTS.items() if row[name]]
    of_month = {"low": month.low, "high": month.high}
    for statement, one, several in COUNTED:
        if count := _count(connection, statement, of_month):
            found.append(_say(count, one, several))
    unreconciled = connection.execute(_UNRECONCILED, of_month).fetchone()
    if unreconciled:
        more = f", nor are {unreconciled['count'] - 1:,} others" if unreconciled["count"] > 1 else ""
        found.append(f"settlement {unreconciled['id']} of store {unreconciled['store_id']} is not reconciled{more}")
    split = SQL(_SPLIT_JOURNALS).format(journals=names["ledger_journals"], entries=names["ledger_entries"])
    if count := _count(connection, split, {}):
        found.append(
            _say(count, "1 journal has its entries in another month", "{:,} journals have entries in another month")
        )
    return found


def _say(count: int, one: str, several: str) -> str:
    return one if count == 1 else several.format(count)


def _count(connection: Connection, statement: Any, values: dict[str, str]) -> int:
    row = connection.execute(statement, values).fetchone()
    count: int = row["count"] if row else 0
    return count

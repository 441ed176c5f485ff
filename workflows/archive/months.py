"""List the months of the partitioned tables, and name the tables of a month.

A month is named as in the names of its tables: ``2026_11``, or ``until_2027_01`` for the table of everything before the first
month (migration 0039). People write ``2026-11`` and ``until-2027-01``.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier

Connection = psycopg.Connection[DictRow]

TABLES = ("ledger_entries", "ledger_journals", "payment_attempts", "payment_history", "payments")
"""The partitioned tables, in the order in which they are locked and moved."""

KEYS = {
    "ledger_entries": ("journal_id", "jrn_"),
    "ledger_journals": ("substr(source_id, 5)", ""),
    "payment_attempts": ("payment_id", "pay_"),
    "payment_history": ("payment_id", "pay_"),
    "payments": ("id", "pay_"),
}
"""Table → the key of its partitions, and what stands before the time in it (migration 0039)."""

PRIMARY_KEYS = {
    "ledger_entries": ("journal_id", "number"),
    "ledger_journals": ("id",),
    "payment_attempts": ("payment_id", "number"),
    "payment_history": ("payment_id", "version"),
    "payments": ("id",),
}
"""Table → the columns that order its rows in a file."""

ARCHIVE, PUBLIC = "archive", "public"

_NAME = re.compile(r"(?:until_)?\d{4}_\d{2}")
_BOUNDS = re.compile(r"FROM \((?:MINVALUE|'pay_([0-9a-f]{12})')\) TO \('pay_([0-9a-f]{12})'\)")
_ATTACHED = """
    SELECT substr(c.relname, length('payments_') + 1) AS month, pg_get_expr(c.relpartbound, c.oid) AS bounds,
           EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'month_is_frozen') AS is_frozen
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'public.payments'::regclass AND c.relname ~ '^payments_(until_)?[0-9]{4}_[0-9]{2}$'
"""
_ARCHIVED = "SELECT month, low, high, archived_at, archived_by, dropped_at FROM archived_months"


@dataclass(frozen=True, slots=True)
class Month:
    """A month: its ids have times (12 hexadecimal digits, as in ids) from ``low``, below ``high``.

    ``archived_at`` is ``None`` while its tables are live. A frozen month accepts no change, because it is being archived.
    """

    name: str
    low: str
    high: str
    is_frozen: bool = False
    archived_at: datetime | None = None
    archived_by: str = ""
    dropped_at: datetime | None = None

    @property
    def label(self) -> str:
        """Return the month as people write it."""
        return self.name.replace("_", "-")

    @property
    def ends_at(self) -> datetime:
        """Return the time at which the month is over."""
        return datetime.fromtimestamp(int(self.high, 16) / 1000, UTC)

    def table(self, table: str, *, schema: str = PUBLIC) -> Composed:
        """Return the quoted name of the month's part of ``table``."""
        return SQL("{}.{}").format(Identifier(schema), Identifier(f"{table}_{self.name}"))


def month_name(written: str) -> str | None:
    """Return the name of a month that a person wrote, or ``None`` if it is not one."""
    name = written.replace("-", "_")
    return name if _NAME.fullmatch(name) else None


def read_months(connection: Connection) -> list[Month]:
    """Return all months that are attached or archived, oldest first.

    The partitions "beyond" are not months.
    """
    found = [
        Month(row["month"], match[1] or "", match[2], is_frozen=row["is_frozen"])
        for row in connection.execute(_ATTACHED)
        if (match := _BOUNDS.search(row["bounds"]))
    ]
    found += [
        Month(
            row["month"],
            row["low"],
            row["high"],
            archived_at=row["archived_at"],
            archived_by=row["archived_by"],
            dropped_at=row["dropped_at"],
        )
        for row in connection.execute(_ARCHIVED)
    ]
    return sorted(found, key=lambda month: month.high)


def read_sizes(connection: Connection, month: Month) -> dict[str, int]:
    """Return the estimated ``rows`` (payments) of a month, and the ``bytes`` of its tables and indexes."""
    schema = ARCHIVE if month.archived_at else PUBLIC
    names = [f"{schema}.{table}_{month.name}" for table in TABLES]
    row = connection.execute(
        """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS bytes,
                  coalesce(max(greatest(c.reltuples, s.n_live_tup)) FILTER (WHERE c.relname LIKE 'payments%%'), 0)::bigint
                      AS rows
           FROM unnest(%s::text[]) AS n(name) JOIN pg_class c ON c.oid = to_regclass(n.name)
           LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid""",
        [names],
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always returns a row
    return dict(row)

"""Fill a database with copies of payments that the product itself has processed, for measurements on large tables.

All rows of a payment are copied, with its history, attempts, journals and entries, whatever tables and columns the schema has.
Each set of copies is older than the one before: its times are, and the timestamps within its ids. Triggers do not run. The
indexes stay, and grow as they would.
"""

from typing import Any

import psycopg

FIRST_MS = 25 * 3_600_000
"""How much older the newest copies are than their originals. They have no idempotency keys, which expire after a day."""
STEP_MS = 2_000
"""How much older each set of copies is than the one before. Ten million payments then span some hours."""
SETS_AT_ONCE = 25  # per statement, so that no transaction is long

_TABLES = """
    -- every table with rows of payments: partitioned ones as a whole, without their partitions
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND (c.relname = 'ledger_entries' OR c.relname LIKE ANY ('{%payments,payment\\_%}') OR EXISTS (
          SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'payment_id' AND NOT a.attisdropped))
    ORDER BY c.relname = 'ledger_entries', 1 -- the entries after their journals, by which they are found
"""
_COLUMNS = """
    SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""
IDS = frozenset({"id", "payment_id", "source_id", "journal_id", "reference"})
"""Columns with an id of ours, of a payment or of something that belongs to it."""
NAMES = frozenset({"client_reference", "provider_reference"})
"""Columns with a text that no two payments share."""

_FUNCTIONS = """
    CREATE OR REPLACE FUNCTION pg_temp.older(id text, ms bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT substr(id, 1, 4) || lpad(to_hex(('x' || substr(id, 5, 12))::bit(48)::bigint - ms), 12, '0') || substr(id, 17)
    $$
"""


class Cloner:
    """Copies the payments that are completed when it is made."""

    def __init__(self, database_url: str, *, templates: int) -> None:
        """``templates``: how many payments to copy, at most. They become the rows of temporary tables."""
        self._connection: psycopg.Connection[Any] = psycopg.connect(database_url, autocommit=True)
        for statement in ("SET session_replication_role = replica", "SET synchronous_commit = off", _FUNCTIONS):
            self._connection.execute(statement.encode())
        self._connection.execute(
            b"CREATE TEMP TABLE chosen AS SELECT id FROM payments WHERE status = 'completed' ORDER BY id LIMIT %s"
            % str(templates).encode()
        )
        self.payments = self._value("SELECT count(*) FROM chosen")
        self._inserts = [insert for table in self._tables() if (insert := self._prepare(table))]
        self._sets = 0

    def grow_to(self, payments: int) -> int:
        """Insert copies until there are at least ``payments`` of them, and return how many there are."""
        wanted = -(-payments // self.payments)
        back = {"first_ms": FIRST_MS, "step_ms": STEP_MS}
        while self._sets < wanted:
            first, self._sets = self._sets + 1, min(wanted, self._sets + SETS_AT_ONCE)
            for insert in self._inserts:
                self._connection.execute(insert.encode(), {**back, "first": first, "last": self._sets})
        return self._sets * self.payments

    def finish(self) -> None:
        """Do what autovacuum and the checkpointer would have done while the rows were inserted one by one."""
        self._connection.execute("VACUUM ANALYZE")
        self._connection.execute("CHECKPOINT")

    def close(self) -> None:
        """Close the connection, which drops the temporary tables."""
        self._connection.close()

    def _tables(self) -> list[str]:
        return [str(name) for (name,) in self._connection.execute(_TABLES.encode())]

    def _prepare(self, table: str) -> str:
        """Store the templates of a table, and return the statement that copies them; empty without templates."""
        columns = {str(name): str(kind) for name, kind in self._connection.execute(_COLUMNS, [table])}
        condition = next(
            (f"{name} IN (SELECT id FROM chosen)" for name in ("payment_id", "id") if name in columns),
            "journal_id IN (SELECT id FROM template_ledger_journals)",
        )
        source = f"template_{table}"
        self._connection.execute(f"CREATE TEMP TABLE {source} AS SELECT * FROM {table} WHERE {condition}".encode())
        if not self._value(f"SELECT count(*) FROM {source}"):
            return ""
        copied = ", ".join(_copied(name, kind) for name, kind in columns.items())
        return (
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {copied} FROM {source}, "
            "LATERAL (SELECT n, %(first_ms)s + n * CAST(%(step_ms)s AS bigint) AS ms FROM generate_series("
            "CAST(%(first)s AS int), CAST(%(last)s AS int)) n) back ORDER BY 1"
        )

    def _value(self, query: str) -> int:
        row = self._connection.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0


def _copied(name: str, kind: str) -> str:
    """Return the expression of a column of a copy."""
    if name in IDS:
        return f"pg_temp.older({name}, back.ms)"
    if name in NAMES:
        return f"'copy-' || back.n || '-' || {name}"
    if kind == "timestamp with time zone":
        return f"{name} - back.ms * interval '1 ms'"
    return name

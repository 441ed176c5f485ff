"""Store operations and the ledger in one SQLite file, over one connection, with group commit.

A statement runs at once. The COMMIT runs at the end of the event loop's iteration, for all callers that wrote during it. A
caller that wrote waits with ``await storage.durable()`` and answers afterwards. There is no timer: a single charge commits at
once, and concurrent charges share a commit.

This is safe because there is one thread, and no caller awaits between its first statement and ``durable()``. Each call's
statements are therefore contiguous, each read sees every earlier write, and two calls with the same reference cannot both
find it unused. If a statement or the commit fails, the whole group is rolled back and every waiter gets an error.

The write-ahead log without an fsync per commit survives kill -9 of this process, which is all that is promised. After a power
cut the last commits may be missing, but the file is intact.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE_NAME = "ledger-2.sqlite3"  # the number grows with the tables: a file of an older version is not used
LOCK_WAIT_SECONDS = 2.0  # a predecessor that was just killed may still hold the lock
CACHED_STATEMENTS = 128  # more than there are, so that each is compiled once

PRAGMAS = (
    "PRAGMA locking_mode = EXCLUSIVE",  # one process owns the ledger; this also holds the log's index in its memory
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 4000",  # pages: 16 MB of log between two fsyncs
    "PRAGMA cache_size = -65536",  # KiB
    "PRAGMA temp_store = MEMORY",
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS operations (
    reference TEXT NOT NULL,
    family TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    fee INTEGER NOT NULL,
    provider_reference TEXT NOT NULL,
    token TEXT NOT NULL,
    fate TEXT NOT NULL,
    decline_code TEXT NOT NULL,
    charge_reference TEXT,
    fingerprint BLOB,
    created_at INTEGER NOT NULL,
    due_at INTEGER,
    account TEXT NOT NULL,
    PRIMARY KEY (reference, family)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS operations_due ON operations (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS operations_refunds ON operations (charge_reference) WHERE charge_reference IS NOT NULL;

CREATE TABLE IF NOT EXISTS movements (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    reference TEXT NOT NULL,
    payment_id TEXT NOT NULL,
    provider_reference TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    currency TEXT NOT NULL,
    fee INTEGER NOT NULL,
    at INTEGER NOT NULL,
    account TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS movements_payment ON movements (payment_id);
CREATE INDEX IF NOT EXISTS movements_at ON movements (at);

CREATE TABLE IF NOT EXISTS strikes (name TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), ahead_seconds INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS marks (
    reference TEXT NOT NULL,
    family TEXT NOT NULL,
    hidden_until INTEGER NOT NULL,
    dark_until INTEGER NOT NULL,
    PRIMARY KEY (reference, family)
) WITHOUT ROWID;
"""

TABLES = ("operations", "movements", "strikes", "marks")  # tables that can be emptied; the clock's is not one of them


class StorageFailed(Exception):
    """The writes of this caller were rolled back, together with their whole group."""


class SqliteStorage:
    """The SQLite file and its group commit. Use it from the event loop's thread only."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            folder / FILE_NAME,
            timeout=LOCK_WAIT_SECONDS,
            isolation_level=None,  # BEGIN and COMMIT are sent explicitly
            cached_statements=CACHED_STATEMENTS,
        )
        try:
            for pragma in PRAGMAS:
                self._connection.execute(pragma)
            self._connection.executescript(SCHEMA)
        except sqlite3.Error:  # another process holds the file
            self._connection.close()
            raise
        self._group: asyncio.Future[sqlite3.Error | None] | None = None

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query. It sees every earlier write, committed or not."""
        return self._connection.execute(sql, parameters).fetchall()

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement as part of the current group. It is durable only after ``durable()``."""
        try:
            if self._group is None:
                self._begin()
            self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            self._end("ROLLBACK", error=error)
            raise StorageFailed(str(error)) from error

    async def durable(self) -> None:
        """Wait until everything written so far is committed.

        Raises StorageFailed if the writes were rolled back instead.
        """
        if self._group is None:
            return
        error = await asyncio.shield(self._group)  # one waiter's cancellation must not cancel the others
        if error is not None:
            raise StorageFailed(str(error)) from error

    def commit(self) -> None:
        """Commit the current group now and wake its waiters."""
        if self._group is None:
            return
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._end("ROLLBACK", error=error)
        else:
            self._end("", error=None)

    def empty(self) -> None:
        """Delete all rows except the clock's.

        The ledger's ``seq`` continues, so that an old cursor never hides a new row.
        """
        for table in TABLES:
            self.write(f"DELETE FROM {table}")

    def close(self) -> None:
        """Commit the current group and close the file."""
        self.commit()
        self._connection.close()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._connection.execute("BEGIN IMMEDIATE")
        self._group = loop.create_future()
        loop.call_soon(self.commit)

    def _end(self, statement: str, *, error: sqlite3.Error | None) -> None:
        group, self._group = self._group, None
        if statement and self._connection.in_transaction:
            self._connection.execute(statement)
        if group is not None and not group.done():
            group.set_result(error)  # a result, not an exception: nobody may be waiting to retrieve it

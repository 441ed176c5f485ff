"""Move the tables of a month between the live books and the schema ``archive``, without blocking payments for long.

| step   | transaction                                             | strongest lock, and for how long   |
|--------|---------------------------------------------------------|------------------------------------|
| freeze | a trigger on each of the month's tables refuses changes | the month's tables, some ms        |
| detach | carried rows; tables to the other schema, then detached | the whole tables, some ms          |
| attach | tables back, attached; carried rows deleted             | the whole tables, against DDL only |

After the freeze is committed, the month cannot change. So files are written and sums computed without a lock that anybody
waits for, and the last transaction takes its strong locks at its end. A transaction that gets no lock within
``LOCK_TIMEOUT_MS`` gives up the attempt, because all payments queue behind its request, and tries again after a pause.

A table changes its schema while it still is a partition: a statement that names the month's table fails then and never writes
to a table that is no partition any more (``workflows.database.months``).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import LiteralString

from psycopg import errors
from psycopg.sql import SQL, Composed, Identifier, Literal

from workflows.archive.months import ARCHIVE, KEYS, PUBLIC, TABLES, Connection, Month

LOCK_TIMEOUT_MS = 200
"""How long a request for a strong lock may wait. Every payment queues behind it meanwhile."""
ATTEMPTS = 50
PAUSE_SECONDS = 0.2
"""Attempts to get a strong lock, and the pause after each: longer than the usual transaction of a worker."""

FREEZE = "month_is_frozen"
_WITHIN = "month_only"


class MonthBusy(Exception):
    """The locks were not free within all attempts: long transactions use the tables. Nothing was changed."""


def reserve(connection: Connection, month: Month, *, schema: str = PUBLIC) -> None:
    """Keep autovacuum away from the month's tables until the transaction ends.

    It would keep the short requests of ``with_short_locks`` from their locks. PostgreSQL cancels it after this request has
    waited for a second, which no other statement notices.
    """
    for table in TABLES:
        connection.execute(
            SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE").format(month.table(table, schema=schema))
        )


def freeze(connection: Connection, month: Month) -> None:
    """Refuse every change of the month's rows from now on. Must be called in a transaction."""
    for table in TABLES:
        for level, events in (("ROW", "INSERT OR UPDATE OR DELETE"), ("STATEMENT", "TRUNCATE")):
            name = FREEZE if level == "ROW" else f"{FREEZE}_whole"
            connection.execute(
                SQL(
                    "CREATE OR REPLACE TRIGGER {} BEFORE {} ON {} FOR EACH {} EXECUTE FUNCTION public.refuse_frozen_month()"
                ).format(Identifier(name), SQL(events), month.table(table), SQL(level))
            )


def release(connection: Connection, month: Month) -> None:
    """Accept changes of the month's rows again. Must be called in a transaction."""
    for table in TABLES:
        for name in (FREEZE, f"{FREEZE}_whole"):
            connection.execute(SQL("DROP TRIGGER IF EXISTS {} ON {}").format(Identifier(name), month.table(table)))


def detach(connection: Connection, month: Month) -> None:
    """Move the month's tables to the schema ``archive``, and detach them."""
    parents = SQL(", ").join(SQL("ONLY {}").format(Identifier(PUBLIC, table)) for table in TABLES)
    connection.execute(SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(parents))
    for table in TABLES:
        connection.execute(SQL("ALTER TABLE {} SET SCHEMA {}").format(month.table(table), Identifier(ARCHIVE)))
        connection.execute(
            SQL("ALTER TABLE {} DETACH PARTITION {}").format(
                Identifier(PUBLIC, table), month.table(table, schema=ARCHIVE)
            )
        )


def constrain(connection: Connection, month: Month) -> None:
    """Add validated CHECKs to the archived tables, so that attaching them needs no scan under a lock."""
    for table in TABLES:
        where, name = month.table(table, schema=ARCHIVE), Identifier(_WITHIN)
        connection.execute(SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(where, name))
        connection.execute(
            SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({}) NOT VALID").format(where, name, _range_check(table, month))
        )
        connection.execute(SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(where, name))


def attach(connection: Connection, month: Month) -> None:
    """Attach the archived tables, which are constrained, and move them back."""
    for table in TABLES:
        where = month.table(table, schema=ARCHIVE)
        _, prefix = KEYS[table]
        low = SQL("({})").format(Literal(prefix + month.low)) if month.low else SQL("(MINVALUE)")
        connection.execute(
            SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM {} TO ({})").format(
                Identifier(PUBLIC, table), where, low, Literal(prefix + month.high)
            )
        )
        connection.execute(SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(where, Identifier(_WITHIN)))
        connection.execute(SQL("ALTER TABLE {} SET SCHEMA {}").format(where, Identifier(PUBLIC)))


def drop(connection: Connection, month: Month) -> None:
    """Drop the archived tables of a month."""
    for table in TABLES:
        connection.execute(SQL("DROP TABLE {}").format(month.table(table, schema=ARCHIVE)))


def _range_check(table: str, month: Month) -> Composed:
    key, prefix = KEYS[table]
    column: LiteralString = key
    check = SQL("{key} IS NOT NULL AND {key} < {high}").format(key=SQL(column), high=Literal(prefix + month.high))
    if month.low:
        check += SQL(" AND {key} >= {low}").format(key=SQL(column), low=Literal(prefix + month.low))
    return check


def with_short_locks(
    connection: Connection, change: Callable[[], None], *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Run ``change`` within the open transaction, and repeat it until it gets its locks.

    Raises ``MonthBusy`` after ``ATTEMPTS``.
    """
    for _ in range(ATTEMPTS):
        try:
            with connection.transaction(), _lock_timeout(connection):
                change()
        except errors.LockNotAvailable:
            pause(PAUSE_SECONDS)
        else:
            return
    raise MonthBusy


@contextmanager
def _lock_timeout(connection: Connection) -> Iterator[None]:
    connection.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(LOCK_TIMEOUT_MS)))
    yield

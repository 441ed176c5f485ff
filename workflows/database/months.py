"""Name the tables of a month in statements that find rows by their ids, so that other months cost nothing.

``payments``, ``payment_history``, ``payment_attempts``, ``ledger_journals`` and ``ledger_entries`` are partitioned by month
(migration 0039). A cached plan of a statement that names them opens and checks the tables of all months, although the ids are
of one: with 37 months, a claim and a record of a payment cost 1.9 ms more. A statement that names the month's own tables costs
what it costs without partitions.

| ids                                                        | the statement names                                          |
|------------------------------------------------------------|--------------------------------------------------------------|
| of one month that this process knows                       | the tables of that month, as in ``payments_2027_01``         |
| of two months, as a group has them at midnight             | ``payments``                                                 |
| of a month that is not known, not made or archived         | ``payments``; the months are read again, once a minute        |

``payments`` is always right, only dearer. A month's own tables are right because PostgreSQL said which ids they hold, and that
never changes: a month is made with all its rows in one transaction, and ends by being moved to another schema while it still
is a partition (decision 0182). Then its name fails, nothing was done, and the statement is repeated on ``payments``.
"""

import logging
import re
import time
from bisect import bisect_right
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError

from workflows.database.connection import Connection, Rows
from workflows.database.engines import Role
from workflows.database.hot_connection import StatementRows
from workflows.database.hot_path import execute_alone
from workflows.errors import ServiceUnavailable

logger = logging.getLogger(__name__)

MARK = "/*month*/"
"""Follows the name of a partitioned table in the text of a ``MonthlyStatement``. As it stands, it is a comment."""

TABLES = ("payments", "payment_history", "payment_attempts", "ledger_journals", "ledger_entries")
"""The tables that are partitioned by month."""

ALL = ""
"""The month of a statement on the tables of all months."""

ID_LENGTH = 36  # of an id that ``new_id`` made. Any other text is looked for in all months
PREFIX_LENGTH = 4
LOOK_AGAIN_SECONDS = 60.0

_BOUNDS = re.compile(r"FROM \((?:MINVALUE|'pay_([0-9a-f]{12})')\) TO \('pay_([0-9a-f]{12})'\)")
_LOOK = text(r"""
    -- months: those of which all five tables are attached
    SELECT m.month, m.bounds FROM (
        SELECT substr(c.relname, length('payments_') + 1) AS month, pg_get_expr(c.relpartbound, c.oid) AS bounds
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = CAST('public.payments' AS regclass) AND NOT i.inhdetachpending
          AND c.relnamespace = CAST('public' AS regnamespace) AND c.relname ~ '^payments_(until_)?[0-9]{4}_[0-9]{2}$'
    ) m WHERE 4 = (
        SELECT count(*)
        FROM (VALUES ('payment_history'), ('payment_attempts'), ('ledger_journals'), ('ledger_entries')) AS t(name)
        JOIN pg_class c ON c.relname = t.name || '_' || m.month AND c.relnamespace = CAST('public' AS regnamespace)
        JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = to_regclass('public.' || t.name) AND NOT i.inhdetachpending)
""")


class MonthlyStatement:
    """An SQL text in which ``MARK`` follows the names of partitioned tables, and the statements made of it."""

    def __init__(self, sql: str) -> None:
        self.text = sql
        self._of: dict[str, TextClause] = {}

    def __str__(self) -> str:
        """Return the statement on the tables of all months."""
        return self.text.replace(MARK, ALL)

    def of(self, month: str) -> TextClause:
        """Return the statement on the tables of ``month``.

        It is the same object each time, because statements are prepared once.
        """
        statement = self._of.get(month)
        if statement is None:
            statement = self._of[month] = text(self.text.replace(MARK, f"_{month}" if month else ""))
        return statement


class Month(NamedTuple):
    """A month's part of the names of its tables, and the times in ids that it contains: from ``low``, below ``high``."""

    low: str
    high: str
    name: str


class Months:
    """The months that this process knows."""

    def __init__(self) -> None:
        self._months: list[Month] = []
        self._lows: list[str] = []
        self._look_at = 0.0

    async def of(self, ids: Collection[str], *, role: Role) -> str:
        """Return the month of all ``ids``, or ``ALL``. ``role`` reads the months if one is not known."""
        keys = [one[PREFIX_LENGTH:] for one in ids if len(one) == ID_LENGTH]
        if not keys or len(keys) != len(ids):
            return ALL
        first, last = min(keys), max(keys)
        month = self._find(first)
        if month is None and time.monotonic() >= self._look_at:
            await self.look(role)
            month = self._find(first)
        return month.name if month and last < month.high else ALL

    async def look(self, role: Role) -> None:
        """Read the months.

        If the database is unavailable, the old ones stay: a wrong one fails when it is named.
        """
        self._look_at = time.monotonic() + LOOK_AGAIN_SECONDS
        try:
            rows = (await execute_alone(role, _LOOK)).all()
        except ServiceUnavailable as error:
            extra = {"event": "months.unread"}
            logger.warning("the months could not be read, so statements read all of them: %s", error, extra=extra)
            return
        found = [(row["month"], match) for row in rows if (match := _BOUNDS.search(row["bounds"]))]
        self._months = sorted(Month(match[1] or "", match[2], name) for name, match in found)
        self._lows = [month.low for month in self._months]

    def forget(self) -> None:
        """Forget the months, because one that was named is gone."""
        self._months, self._lows, self._look_at = [], [], 0.0

    def _find(self, key: str) -> Month | None:
        index = bisect_right(self._lows, key) - 1
        return self._months[index] if index >= 0 and key < self._months[index].high else None


MONTHS = Months()
"""The months of this process."""


async def execute_in_month(
    role: Role, statement: MonthlyStatement, ids: Collection[str], parameters: Mapping[str, Any]
) -> StatementRows:
    """Run ``statement`` on the tables of the month of ``ids``, as a transaction of its own.

    Raises as ``execute_alone`` does.
    """
    month = await MONTHS.of(ids, role=role)
    try:
        return await execute_alone(role, statement.of(month), parameters)
    except DBAPIError as error:
        if not is_gone(error, month):
            raise
    MONTHS.forget()
    return await execute_alone(role, statement.of(ALL), parameters)


async def execute_within(
    connection: Connection,
    statement: MonthlyStatement,
    ids: Collection[str],
    parameters: Mapping[str, Any],
    *,
    role: Role,
) -> Rows:
    """Run ``statement`` on the tables of the month of ``ids``, within the transaction of ``connection``.

    Raises ``ServiceUnavailable`` if a table is gone: the transaction is rolled back, and the next one uses other tables.
    """
    month = await MONTHS.of(ids, role=role)
    try:
        return await connection.execute(statement.of(month), parameters)
    except DBAPIError as error:
        if not is_gone(error, month):
            raise
        MONTHS.forget()
        raise ServiceUnavailable(retry_after_seconds=1) from error


def is_gone(error: DBAPIError, month: str) -> bool:
    """Return whether a statement failed because a table of ``month`` does not exist, and log it.

    Any other table that is missing, as one that a trigger names, is an error that must be seen.
    """
    if month == ALL or not isinstance(error.orig, psycopg.errors.UndefinedTable):
        return False
    message = error.orig.diag.message_primary or ""
    if not any(f"{table}_{month}" in message for table in TABLES):
        return False
    logger.warning("the tables of month %s are gone: %s", month, message, extra={"event": "months.gone"})
    return True

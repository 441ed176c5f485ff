"""Make the partitions of coming months, and count those that are there (migrations 0038 and 0039).

The database makes a month of all five tables in one transaction (``make_months``). It waits for its locks for 0.3 s, because
statements queue behind it, and is tried again at the next message. Until a month is made, the partitions ``…_beyond`` take its
rows: payments go on, their statements are only dearer. If those are too many to move, an owner lets them become the tables of
a long month (docs/operations.md).
"""

import logging

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from workflows.database.engines import Role, transaction
from workflows.errors import ServiceUnavailable

logger = logging.getLogger(__name__)

MONTHS_AHEAD = 3
"""Months that are made ahead. A month is tried some 4,000 times before it begins."""

_MAKE = text("SELECT make_months(:ahead, now())")
_COUNT = text(r"""
    -- months after the present one that have tables: a table of several months counts as often
    SELECT greatest(0, 12 * extract(year FROM age) + extract(month FROM age) - 1) FROM pg_class c
    CROSS JOIN substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''pay_([0-9a-f]{12})') AS begins
    CROSS JOIN age(
        CAST(date_trunc('month', to_timestamp(CAST(CAST('x' || begins AS bit(48)) AS bigint) / 1000.0) AT TIME ZONE 'UTC')
            AS timestamp), date_trunc('month', now() AT TIME ZONE 'UTC')) AS age
    WHERE c.oid = to_regclass('public.payments_beyond')
""")
_ANALYZE = text("SELECT analyze_months()")
_LONG = text("SET LOCAL statement_timeout = '90s'")  # it reads a sample of every month


async def make_months() -> int:
    """Make the missing ones of the next ``MONTHS_AHEAD`` months, and return how many were made.

    Logs an error if no later month is there, because the partitions ``…_beyond`` are about to be used, or if they have
    too many rows to move.
    """
    made = 0
    try:
        async with transaction(Role.SWEEP) as connection:
            made = int((await connection.execute(_MAKE, {"ahead": MONTHS_AHEAD})).scalar_one())
    except ServiceUnavailable as error:
        logger.warning("no month was made, it is tried again: %s", error.__cause__, extra={"event": "months.postponed"})
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.ProgramLimitExceeded):
            raise
        logger.error("%s", error.orig.diag.message_primary, extra={"event": "months.crowded"})
    if await count_months_ahead(Role.SWEEP) == 0:
        logger.error("there are no tables for the next month", extra={"event": "months.missing"})
    return made


async def count_months_ahead(role: Role) -> int:
    """Return the number of months that have tables and have not begun."""
    async with transaction(role) as connection:
        return int((await connection.execute(_COUNT)).scalar() or 0)


async def analyze_months() -> str | None:
    """Analyze the whole table with the oldest statistics, if they are a day old, and return its name."""
    async with transaction(Role.SWEEP) as connection:
        await connection.execute(_LONG)
        name: str | None = (await connection.execute(_ANALYZE)).scalar()
    return name

"""Make the partitions of coming months, and count those that are there (migrations 0038 and 0039).

The database makes a month of all five tables in one transaction (``make_months``). It waits for its locks for 0.3 s, because
statements queue behind it, and is tried again at the next message. Until a month is made, the partitions ``…_beyond`` take its
rows: payments go on, their statements are only dearer.
"""

import logging

from sqlalchemy import text

from workflows.database.engines import Role, transaction
from workflows.errors import ServiceUnavailable

logger = logging.getLogger(__name__)

MONTHS_AHEAD = 3
"""Months that are made ahead. A month is tried some 4,000 times before it begins."""

_MAKE = text("SELECT make_months(:ahead)")
_COUNT = text(r"""
    -- months that are made and have not begun: those whose first id is later than one that is made now
    SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('public.payments' AS regclass) AND c.relname ~ '^payments_[0-9]{4}_[0-9]{2}$'
      AND substring(pg_get_expr(c.relpartbound, c.oid) FROM 'pay_([0-9a-f]{12})')
          > lpad(to_hex(CAST(extract(epoch FROM pg_catalog.now()) * 1000 AS bigint)), 12, '0')
""")


async def make_months() -> int:
    """Make the missing ones of the next ``MONTHS_AHEAD`` months, and return how many were made.

    Logs an error if no later month is there: then the partitions ``…_beyond`` are about to be used.
    """
    made = 0
    try:
        async with transaction(Role.SWEEP) as connection:
            made = int((await connection.execute(_MAKE, {"ahead": MONTHS_AHEAD})).scalar_one())
    except ServiceUnavailable as error:
        logger.warning("no month was made, it is tried again: %s", error.__cause__, extra={"event": "months.postponed"})
    if await count_months_ahead(Role.SWEEP) == 0:
        logger.error("there are no tables for the next month", extra={"event": "months.missing"})
    return made


async def count_months_ahead(role: Role) -> int:
    """Return the number of months that are made and have not begun."""
    async with transaction(role) as connection:
        return int((await connection.execute(_COUNT)).scalar_one())

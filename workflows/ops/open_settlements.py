"""Count the settlements that are not reconciled and their open breaks, by currency.

Open settlements are as many as stores. Of closed ones the oldest ``AT_MOST`` are counted, as in ``waiting_days``.
"""

from typing import NamedTuple

from sqlalchemy import text

from workflows.database.engines import Role, transaction
from workflows.ops.waiting_days import AT_MOST

_COUNT = text(f"""
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
    """Return the numbers for each currency and status. Raises ``ServiceUnavailable``."""
    async with transaction(Role.ACCEPT, is_long=True) as connection:
        return [OpenSettlements(*row) for row in await connection.execute(_COUNT)]

"""Count the rows that the rules examine, in the same snapshot: a rule that had no rows to examine proves nothing."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

COUNTED = {
    "payments": "payments",
    "refunds": "refunds",
    "orders": "orders",
    "bills": "bills",
    "settlements": "settlements",
    "journal entries": "ledger_entries",
    "ledger accounts": "ledger_accounts",
}
"""Name in reports → table."""

_COUNT = text("SELECT " + ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in COUNTED.values()))


async def count_rows(connection: AsyncConnection) -> dict[str, int]:
    """Return how many rows of each kind there are."""
    row = (await connection.execute(_COUNT)).one()
    return dict(zip(COUNTED, row, strict=True))

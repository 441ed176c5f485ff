"""Count what the rules look at, in the snapshot that they look at: a verdict over nothing proves nothing."""

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
"""What people call it → the table."""

_COUNT = text("SELECT " + ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in COUNTED.values()))


async def count_rows(connection: AsyncConnection) -> dict[str, int]:
    """Return how many rows of each kind there are."""
    row = (await connection.execute(_COUNT)).one()
    return dict(zip(COUNTED, row, strict=True))

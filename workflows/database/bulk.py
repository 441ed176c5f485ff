"""Bulk settings for a transaction whose statements each work on a whole settlement, up to a million lines.

The roles' own settings suit terminals: short timeouts, cached plans by keys, little memory for sorting. With bulk settings
a statement may take long, is planned for the rows that exist, and may scan a whole table.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

SETTINGS = {
    "statement_timeout": "'100s'",  # below the time limit of a whole task (110 s, workers.event_loop)
    "plan_cache_mode": "'auto'",
    "enable_seqscan": "on",
    "work_mem": "'64MB'",  # sorting a million lines in pieces of 4 MB takes twice as long; at most two sorts run at a time
}
_SETTINGS = [text(f"SET LOCAL {name} = {value}") for name, value in SETTINGS.items()]


async def use_bulk_settings(connection: AsyncConnection) -> None:
    """Apply the bulk settings to the rest of this transaction."""
    for setting in _SETTINGS:
        await connection.execute(setting)

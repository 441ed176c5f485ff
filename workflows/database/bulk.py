"""Large: settings of a transaction whose statements each work on a whole settlement, be it a million lines.

The roles' own settings are for terminals: short time-outs, plans by keys that are kept, little memory for sorting. Here a
statement may take a while, is planned for the rows that are there, and may read a table from end to end.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

SETTINGS = {
    "statement_timeout": "'100s'",  # below what a task may take in all (110 s, workers.event_loop)
    "plan_cache_mode": "'auto'",
    "enable_seqscan": "on",
    "work_mem": "'64MB'",  # a million lines sorted in 4 MB pieces take twice as long; two sorts at a time, at most
}
_SETTINGS = [text(f"SET LOCAL {name} = {value}") for name, value in SETTINGS.items()]


async def use_bulk_settings(connection: AsyncConnection) -> None:
    """Let the rest of this transaction work on whole settlements."""
    for setting in _SETTINGS:
        await connection.execute(setting)

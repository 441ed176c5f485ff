"""Health: whether the database would take a payment now."""

import asyncio

from sqlalchemy import text

from workflows.database import Role, transaction
from workflows.errors import ServiceUnavailable

ANSWER_WITHIN_SECONDS = 3.0
"""A server that is frozen neither answers nor hangs up; who asks for our health wants to know within his own patience."""


async def database_answers() -> None:
    """Ask the database something. Raises ``ServiceUnavailable`` where it does not answer, or not in time."""
    asking = asyncio.ensure_future(_ask())
    # Not cancelled when it takes too long: to cancel a statement the server would have to be heard once more.
    done, _ = await asyncio.wait({asking}, timeout=ANSWER_WITHIN_SECONDS)
    if not done:
        asking.add_done_callback(lambda late: late.exception())  # nobody waits for it any more
        raise ServiceUnavailable(retry_after_seconds=1)
    asking.result()


async def _ask() -> None:
    async with transaction(Role.ACCEPT) as connection:
        await connection.execute(text("SELECT 1"))

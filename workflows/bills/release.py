"""Release: payments ended without moving money; what they held on their bills is free again."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.balance import release_amount
from workflows.bills.lock import WRITE_RESERVED, Share, apply_to_each


async def release(connection: AsyncConnection, shares: Sequence[Share]) -> None:
    """Let go of the reservations of these payments, which failed or were cancelled. Each exactly once, two statements.

    May run as ``mpac_caller`` (a cancel at once) and as ``mpac_worker``.
    """
    if shares:
        await apply_to_each(connection, shares, release_amount, statement=WRITE_RESERVED)

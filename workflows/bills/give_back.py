"""Give back: refunds completed; what they took from payments towards bills lowers what is paid on these."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.balance import give_back_amount
from workflows.bills.lock import WRITE_AMOUNTS, Share, apply_to_each


async def give_back(connection: AsyncConnection, shares: Sequence[Share]) -> None:
    """Take these completed refunds off their bills, each exactly once; ``amount`` is ``share_of_refund`` of each.

    ``partially_paid`` becomes ``unpaid`` at zero; a bill that was paid in full stays ``paid`` and notes what was given
    back. Shares of nothing (a tip) change nothing. Two statements. May run as ``mpac_worker``.
    """
    towards_bills = [share for share in shares if share.amount]
    if towards_bills:
        await apply_to_each(connection, towards_bills, give_back_amount, statement=WRITE_AMOUNTS)

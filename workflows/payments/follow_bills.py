"""Follow bills: what the end of a payment means for the bill it was for.

| payment     | bill                                                        |
|-------------|---------------------------------------------------------------|
| completed   | what was reserved is paid; its order is paid with its last bill |
| failed      | what was reserved is free again                                |
| cancelled   | likewise                                                       |
"""

from collections.abc import Sequence

from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.lock import Share
from workflows.bills.pay import pay
from workflows.bills.release import release
from workflows.payments.states import PaymentStatus
from workflows.transitions import By

WITHOUT_MONEY = (PaymentStatus.FAILED, PaymentStatus.CANCELLED)


async def follow_bills(connection: AsyncConnection, moved: Sequence[RowMapping], worker: str) -> None:
    """Settle the reservations of those of ``moved`` that ended, in the transaction that ended them."""
    billed = [row for row in moved if row["bill_id"]]
    if billed:
        await pay(connection, [_share(row, worker) for row in billed if row["status"] == PaymentStatus.COMPLETED])
        await release(connection, [_share(row, worker) for row in billed if row["status"] in WITHOUT_MONEY])


def _share(row: RowMapping, worker: str) -> Share:
    by = By("worker", worker, row["recorded_at"], request_id=row["request_id"])
    return Share(row["bill_id"], row["id"], row["amount"], by)

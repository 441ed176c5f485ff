"""Update bills when their payments become final, in the transaction that records the final status.

| payment                                            | bill                                                             |
|----------------------------------------------------|------------------------------------------------------------------|
| completed                                          | the reservation is paid; the order is paid with its last bill    |
| failed, cancelled                                  | the reservation is released                                      |
| completed after a cancel that requested a refund   | the reservation is released: the guest still owes the bill       |

A payment of the last kind is marked ``off_bill``: neither it nor its refund counts for the bill. If that refund fails, the
money is retained, and ``refunds.late_cancels`` decides which bill it pays.
"""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.apply_payments import apply_payments, release_reservations
from workflows.bills.lock import BillAmount
from workflows.payments.models import RecordedPayment
from workflows.payments.states import PaymentStatus
from workflows.transitions import ChangeContext

WITHOUT_MONEY = (PaymentStatus.FAILED, PaymentStatus.CANCELLED)

_OFF_BILL = text("UPDATE payments SET off_bill = true WHERE id = ANY(:ids)")


async def update_bills(connection: AsyncConnection, recorded: Sequence[RecordedPayment], worker: str) -> None:
    """Pay or release the reservations of the payments among ``recorded`` that became final."""
    billed = [row for row in recorded if row["bill_id"]]
    if not billed:
        return
    completed = [row for row in billed if row["status"] == PaymentStatus.COMPLETED]
    off_bill = [row for row in completed if is_refunded(row)]
    await apply_payments(connection, [_share(row, worker) for row in completed if row not in off_bill])
    without_money = [row for row in billed if row["status"] in WITHOUT_MONEY]
    await release_reservations(connection, [_share(row, worker) for row in (*without_money, *off_bill)])
    if off_bill:
        await connection.execute(_OFF_BILL, {"ids": [row["id"] for row in off_bill]})


def is_refunded(row: RecordedPayment) -> bool:
    """Return whether the transaction that recorded ``row`` also records a full refund.

    The reason for such a refund is a cancel that was too late.
    """
    is_too_late = row["cancel_outcome"] == "too_late" and row["on_too_late"] == "refund"
    return bool(is_too_late and row["status"] == PaymentStatus.COMPLETED)


def _share(row: RecordedPayment, worker: str) -> BillAmount:
    by = ChangeContext("worker", worker, row["recorded_at"], request_id=row["request_id"])
    return BillAmount(cast(str, row["bill_id"]), row["id"], row["amount"], by)

"""Refund payments whose cancel came after the money had moved, if the terminal requested a refund in that case.

The refund is recorded in the transaction that completes the payment, so both are stored together. It is due immediately; the
next sweep nudges it. Cash and the terminal's own card sales are refunded by a person: their refund needs action until the
terminal reports it.

Such a payment is off its bill: its reservation on the bill is released when the refund is recorded
(``payments.update_bills``). If the refund fails, the money is retained:

| the bill                                | then                                                                     |
|-----------------------------------------|--------------------------------------------------------------------------|
| still owes as much                      | the payment pays it, as if it had completed now                          |
| was paid otherwise meanwhile, or voided | the payment ``needs_review``: the guest has paid twice, or for nothing   |

A person then refunds the payment again; a full refund ends ``needs_review``.
"""

import logging
from collections.abc import Sequence
from typing import cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.apply_payments import apply_unreserved_payments
from workflows.bills.lock import BillAmount
from workflows.payments.models import RecordedPayment
from workflows.payments.states import PAYMENT, PaymentRemark
from workflows.payments.update_bills import is_refunded
from workflows.providers.registry import is_local
from workflows.refunds.models import FinalRefund
from workflows.refunds.request import RefundRequest, write_refund
from workflows.refunds.states import RefundStatus
from workflows.transitions import ChangeContext, apply

logger = logging.getLogger(__name__)

REASON = "cancel came too late"
STAFF_CODE = "system"
REVIEW_REASON = "refund failed and its bill takes nothing"

_CANCELLED_BY = text("""
    -- cancelled by: the caller that requested the cancel is recorded as the one who refunds
    SELECT caller_id FROM payment_history WHERE payment_id = :id AND event = 'request_cancel' ORDER BY version LIMIT 1
""")
# clock_timestamp: the transaction may have waited for the locks, and history is in the order of versions (I14).
_CLOCK = text("SELECT clock_timestamp()")
_ON_BILL = text("UPDATE payments SET off_bill = false WHERE id = ANY(:ids)")
_NOTIFY = text("SELECT pg_notify('payments', :change)")


async def refund_late_cancels(connection: AsyncConnection, recorded: Sequence[RecordedPayment], worker: str) -> None:
    """Record a full refund of each payment among ``recorded`` for which ``is_refunded`` holds.

    Such a payment completed after a cancel with ``on_too_late`` refund.
    """
    for row in recorded:
        if is_refunded(row):
            asked_by = (await connection.execute(_CANCELLED_BY, {"id": row["id"]})).scalar()
            request = RefundRequest(amount=None, reason=REASON, staff_code=asked_by or STAFF_CODE)
            by = ChangeContext("worker", worker, row["recorded_at"], request_id=row["request_id"], reason=REASON)
            await write_refund(
                connection,
                row,
                request,
                amount=row["captured_amount"],
                by=by,
                needs_action=is_local(row["provider"]),
            )


async def update_bills_after_failed_refunds(
    connection: AsyncConnection, final: Sequence[FinalRefund], worker: str
) -> None:
    """Let payments pay their bills if their late refund failed, or request a review if the bill owes less."""
    retained = {row["payment_id"]: row for row in final if _is_retained(row)}
    if not retained:
        return
    at = (await connection.execute(_CLOCK)).scalar_one()
    by = {
        payment_id: ChangeContext("worker", worker, at, row["request_id"], REVIEW_REASON)
        for payment_id, row in retained.items()
    }
    shares = [
        BillAmount(cast(str, row["bill_id"]), one, row["payment_amount"], by[one]) for one, row in retained.items()
    ]
    counted = await apply_unreserved_payments(connection, shares)
    await connection.execute(_ON_BILL, {"ids": list(counted)})
    for payment_id in retained.keys() - counted:
        await _request_review(connection, payment_id, by[payment_id])


def _is_retained(row: FinalRefund) -> bool:
    """Return whether a failed refund leaves all money of an off-bill payment with the merchant."""
    is_whole = row["refunded_before"] == 0 and row["still_reserved"] == 0
    return bool(row["off_bill"]) and row["status"] == RefundStatus.FAILED and is_whole


async def _request_review(connection: AsyncConnection, payment_id: str, by: ChangeContext) -> None:
    changes = {"needs_review": True}
    remark = PaymentRemark.REQUEST_REVIEW
    row = await apply(connection, PAYMENT, entity_id=payment_id, event=remark, by=by, changes=changes)
    await connection.execute(_NOTIFY, {"change": f"{payment_id}:{row['version']}"})
    logger.error(
        "payment %s was not refunded and its bill needs no more money: refund it again",
        payment_id,
        extra={"event": "payment.kept_off_bill", "payment_id": payment_id},
    )

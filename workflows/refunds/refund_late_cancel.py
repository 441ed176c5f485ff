"""Refund payments whose cancel came after the money had moved, if the terminal requested a refund in that case.

The refund is recorded in the transaction that completes the payment, so both are stored together. It is due immediately; the
next sweep nudges it. Cash and the terminal's own card sales are refunded by a person: their refund needs action until the
terminal reports it.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.payments.rows import RecordedPayment
from workflows.payments.update_bills import is_refunded
from workflows.providers.registry import is_local
from workflows.refunds.request import RefundRequest, write_refund
from workflows.transitions import ChangeContext

REASON = "cancel came too late"
STAFF_CODE = "system"

_BY_WHOM = text("""
    -- by whom: the caller that requested the cancel is named as the one who refunds
    SELECT caller_id FROM payment_history WHERE payment_id = :id AND event = 'request_cancel' ORDER BY version LIMIT 1
""")


async def refund_late_cancels(connection: AsyncConnection, recorded: Sequence[RecordedPayment], worker: str) -> None:
    """Record a full refund for each of ``recorded`` that completed after a cancel with ``on_too_late`` = refund."""
    for row in recorded:
        if is_refunded(row):
            asked_by = (await connection.execute(_BY_WHOM, {"id": row["id"]})).scalar()
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

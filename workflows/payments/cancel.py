"""Cancel: withdraw a payment, at once where no provider has heard of it, else by asking for it.

| status       | what happens                                                                            |
|--------------|-----------------------------------------------------------------------------------------|
| pending      | claim and cancel in one transaction: no worker can slip in between                       |
| processing   | the request is recorded; the worker's next step asks the provider                        |
| cancelled    | nothing, and the payment as it is: the cashier pressed twice                             |
| anything else| refused: the money has moved, or is known not to have                                    |
"""

from typing import Any

from sqlalchemy import text

from workflows.errors import ResourceNotFound
from workflows.payments.states import PAYMENT, PaymentEvent, PaymentRemark, PaymentStatus
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import By, apply, illegal

_LOCK = text("""
    -- lock: the row, and an instant after the lock was ours: now() would be that of the transaction's begin, which may lie
    -- before a change that was waited for, and then the history would run backwards (I14)
    SELECT *, clock_timestamp() AS asked_at FROM payments WHERE id = :id FOR UPDATE
""")
_TELL = text("SELECT pg_notify('payments', :change)")


async def cancel_payment(
    payment_id: str, *, caller: Caller, reason: str | None, on_too_late: str | None, request_id: str
) -> dict[str, Any]:
    """Withdraw the payment, or ask for it. Returns the payment's row as it is then.

    ``on_too_late`` says what to do should the money have moved already. Raises ``ResourceNotFound``,
    ``InvalidStatusTransition``, ``NotAuthorized``, ``ServiceUnavailable``.
    """
    async with caller_transaction(caller) as connection:
        found = (await connection.execute(_LOCK, {"id": payment_id})).mappings().one_or_none()
        if found is None:
            raise ResourceNotFound()
        row = dict(found)
        at = row.pop("asked_at")  # the database's clock, by which leases are measured too
        by = By.caller(caller, at=at, request_id=request_id, reason=reason or "requested")
        if row["status"] == PaymentStatus.CANCELLED or (
            row["status"] == PaymentStatus.PROCESSING and row["cancel_requested_at"] is not None
        ):
            return row
        asked = {"cancel_requested_at": at, "cancel_reason": reason or "requested"}
        if on_too_late:
            asked["on_too_late"] = on_too_late
        if row["status"] == PaymentStatus.PENDING:
            await apply(
                connection,
                PAYMENT,
                entity_id=payment_id,
                event=PaymentEvent.CLAIM,
                by=by,
                changes={"processing_at": at, **asked},
            )
            ended = {"cancelled_at": at, "cancel_outcome": "cancelled", "due_at": None}
            row = await apply(
                connection, PAYMENT, entity_id=payment_id, event=PaymentEvent.CANCEL, by=by, changes=ended
            )
        elif row["status"] == PaymentStatus.PROCESSING:
            # A worker that is calling right now keeps its lease and sees the request when it records; else it is due now.
            held = row["lease_until"] is not None and row["lease_until"] > at
            due = {} if held or row["due_at"] is None else {"due_at": at}
            row = await apply(
                connection,
                PAYMENT,
                entity_id=payment_id,
                event=PaymentRemark.REQUEST_CANCEL,
                by=by,
                changes={**asked, **due},
            )
        else:
            raise illegal(PAYMENT, row["status"], PaymentEvent.CANCEL)
        await connection.execute(_TELL, {"change": f"{payment_id}:{row['version']}"})
    return row

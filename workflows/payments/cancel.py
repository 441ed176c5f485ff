"""Cancel a payment: immediately if no provider has heard of it, otherwise by asking the provider.

| status        | what happens                                                                             |
|---------------|------------------------------------------------------------------------------------------|
| pending       | claim and cancel in one transaction: no worker can claim it in between. A report of money  |
|               | that has moved (cash, the terminal's own card sale) is completed instead: it is too late   |
| processing    | the request is stored; the next step of a worker asks the provider                        |
| cancelled     | nothing; the payment is returned as it is: the cashier pressed twice                      |
| anything else | refused: the money has moved, or is known not to have moved                               |
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.apply_payments import release_reservations
from workflows.bills.lock import Share, lock_bills
from workflows.payments.codes import CancelOutcome
from workflows.payments.complete_reported import complete_reported, has_moved
from workflows.payments.rows import PaymentRow
from workflows.payments.states import PAYMENT, PaymentEvent, PaymentRemark, PaymentStatus
from workflows.payments.workload import PaymentWorkload
from workflows.processing.decision import CancelReason
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import one_row
from workflows.tenants.scope import IN_SCOPE, scope_params
from workflows.transitions import ChangeContext, apply, invalid_transition

_LOCK = text(f"""
    -- lock: the row, and the time after the lock was taken: now() is when the transaction began, which may be before a
    -- change that was waited for, and the history would then run backwards (I14)
    SELECT *, clock_timestamp() AS requested_at FROM payments WHERE id = :id AND {IN_SCOPE} FOR UPDATE
""")
_BILL = text(f"SELECT bill_id FROM payments WHERE id = :id AND {IN_SCOPE}")
_NOTIFY = text("SELECT pg_notify('payments', :change)")


async def cancel_payment(
    payment_id: str,
    *,
    caller: Caller,
    reason: str | None,
    on_too_late: str | None,
    request_id: str,
    payments: PaymentWorkload,
) -> PaymentRow:
    """Withdraw the payment, or request its withdrawal. Return the payment's row.

    ``on_too_late`` says what to do if the money has moved already. ``payments`` records a
    completion as a worker does.
    Raises ``ResourceNotFound``, ``InvalidStatusTransition``, ``NotAuthorized``, ``ServiceUnavailable``.
    """
    async with caller_transaction(caller) as connection:
        row, at = await _lock(connection, payment_id, caller)
        if _adds_nothing(row, on_too_late):
            return row
        by = ChangeContext.caller(caller, at=at, request_id=request_id, reason=reason or CancelReason.REQUESTED)
        request = {
            "cancel_requested_at": row["cancel_requested_at"] or at,
            "cancel_reason": row["cancel_reason"] or reason or CancelReason.REQUESTED,
        }
        if on_too_late:
            request["on_too_late"] = on_too_late
        act = _ACTS.get(row["status"])
        if act is None:
            raise invalid_transition(PAYMENT, row["status"], PaymentEvent.CANCEL)
        if row["status"] == PaymentStatus.PENDING and has_moved(row, at=at, payments=payments):
            row = await complete_reported(connection, payment_id, request, by=by, payments=payments)
        else:
            row = await act(connection, row, request, by)
        await connection.execute(_NOTIFY, {"change": f"{payment_id}:{row['version']}"})
    return row


async def _lock(connection: AsyncConnection, payment_id: str, caller: Caller) -> tuple[PaymentRow, datetime]:
    """Lock the payment, and its bill before it: the order of all locks. Return its row and the time after the lock."""
    whose = {"id": payment_id, **scope_params(caller)}
    bill_id = (await connection.execute(_BILL, whose)).scalar()
    if bill_id:
        await lock_bills(connection, [bill_id])
    row = await one_row(connection, _LOCK, whose)
    at = row.pop("requested_at")  # the database's clock, by which leases are measured too
    return cast(PaymentRow, row), at


def _adds_nothing(row: PaymentRow, on_too_late: str | None) -> bool:
    """Return whether this cancel adds nothing new. A repeated cancel may still set ``on_too_late``."""
    is_active = row["status"] == PaymentStatus.PROCESSING and row["due_at"] is not None
    is_requested = is_active and row["cancel_requested_at"] is not None
    is_news = on_too_late is not None and on_too_late != row["on_too_late"]
    return (is_requested and not is_news) or row["status"] == PaymentStatus.CANCELLED


async def _cancel_at_once(
    connection: AsyncConnection, row: PaymentRow, request: dict[str, Any], by: ChangeContext
) -> PaymentRow:
    claimed = {"processing_at": by.at, **request}
    await apply(connection, PAYMENT, entity_id=row["id"], event=PaymentEvent.CLAIM, by=by, changes=claimed)
    ended = {"cancelled_at": by.at, "cancel_outcome": CancelOutcome.CANCELLED, "due_at": None}
    changed = await apply(connection, PAYMENT, entity_id=row["id"], event=PaymentEvent.CANCEL, by=by, changes=ended)
    if row["bill_id"]:
        await release_reservations(connection, [Share(row["bill_id"], row["id"], row["amount"], by)])
    return cast(PaymentRow, changed)


async def _request_cancel(
    connection: AsyncConnection, row: PaymentRow, request: dict[str, Any], by: ChangeContext
) -> PaymentRow:
    # A worker that is calling the provider keeps its lease and sees the request when it records; otherwise the payment is due
    # now. So is a payment that waits for a person: the cancel comes from a person.
    is_held = row["lease_until"] is not None and row["lease_until"] > by.at
    changes = request if is_held else {**request, "due_at": by.at, "inquiries": 0}
    if row["due_at"] is None:
        changes["unanswered_claims"] = 0  # the payment may be quarantined: allow three more claims, as a requeue does
    changed = await apply(
        connection, PAYMENT, entity_id=row["id"], event=PaymentRemark.REQUEST_CANCEL, by=by, changes=changes
    )
    return cast(PaymentRow, changed)


Act = Callable[[AsyncConnection, PaymentRow, dict[str, Any], ChangeContext], Awaitable[PaymentRow]]

_ACTS: Mapping[str, Act] = {PaymentStatus.PENDING: _cancel_at_once, PaymentStatus.PROCESSING: _request_cancel}
"""What a cancel does, by the status it finds."""

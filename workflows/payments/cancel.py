"""Cancel a payment: immediately if no provider has heard of it, otherwise by asking the provider.

| status        | what happens                                                                                |
|---------------|---------------------------------------------------------------------------------------------|
| pending       | claim and cancel in one transaction, so that no worker can claim it in between              |
| processing    | the request is stored; the next step of a worker asks the provider                          |
| cancelled     | nothing; the payment is returned as it is, because the cashier pressed twice                |
| anything else | refused: the money has moved, or is known not to have moved                                 |

A pending payment may be a reported sale: cash in the drawer, or a card that the terminal's own application approved. Its money
has moved already, so the cancel is too late and the sale is completed instead. It is claimed and recorded by the statements
that a worker uses. The rest of the transaction runs with a worker's rights, because a caller must not record that money has
moved. The history then shows:

| version | event              | by                |
|---------|--------------------|-------------------|
| n + 1   | ``claim``          | this API process  |
| n + 2   | ``request_cancel`` | the caller        |
| n + 3   | ``complete``       | this API process  |
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.apply_payments import release_reservations
from workflows.bills.lock import BillAmount, lock_bills
from workflows.database.engines import Role, switch_role
from workflows.payments.archived import explains_archived
from workflows.payments.models import ClaimedPayment, PaymentRow
from workflows.payments.states import PAYMENT, CancelOutcome, PaymentEvent, PaymentRemark, PaymentStatus
from workflows.payments.workload import PaymentWorkload
from workflows.processing.decide import RetryPolicy, decide
from workflows.processing.decision import CancelReason
from workflows.processing.workload import AnsweredClaim
from workflows.providers.base import Succeeded
from workflows.providers.registry import charge_locally
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import one_row
from workflows.tenants.scope import IN_SCOPE, scope_params
from workflows.transitions import ChangeContext, apply, invalid_transition_error

_LOCK = text(f"""
    -- lock: the row, and the time after it was locked. now() is when the transaction began. That may be before a change that
    -- this statement waited for, and the history would then run backwards (I14).
    SELECT *, clock_timestamp() AS requested_at FROM payments WHERE id = :id AND {IN_SCOPE} FOR UPDATE
""")
_BILL = text(f"SELECT bill_id FROM payments WHERE id = :id AND {IN_SCOPE}")
_NOTIFY = text("SELECT pg_notify('payments', :change)")
_ROW = text("SELECT * FROM payments WHERE id = :id")

LEASE_SECONDS = 30.0
"""Lease of a reported sale. Its length does not matter: the lease ends with the transaction of the cancel."""

NO_CALLS = RetryPolicy(max_processing_seconds=0, review_after_seconds=0)
"""The policy for a reported sale: no call is made, so nothing is retried."""


@explains_archived
async def cancel_payment(
    payment_id: str,
    *,
    caller: Caller,
    reason: str | None,
    on_too_late: str | None,
    request_id: str,
    payments: PaymentWorkload,
) -> PaymentRow:
    """Cancel the payment, or request that a worker withdraws it. Return the payment's row.

    ``on_too_late`` says what to do if the money has already moved. ``payments`` is used to complete a reported sale.

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
            raise invalid_transition_error(PAYMENT, row["status"], PaymentEvent.CANCEL)
        if row["status"] == PaymentStatus.PENDING and _has_moved(row, at=at, payments=payments):
            row = await _complete_reported_sale(connection, payment_id, request, by=by, payments=payments)
        else:
            row = await act(connection, row, request, by)
        await connection.execute(_NOTIFY, {"change": f"{payment_id}:{row['version']}"})
    return row


async def _lock(connection: AsyncConnection, payment_id: str, caller: Caller) -> tuple[PaymentRow, datetime]:
    """Lock the payment's bill, then the payment; return the payment's row and the time of its lock."""
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
        await release_reservations(connection, [BillAmount(row["bill_id"], row["id"], row["amount"], by)])
    return cast(PaymentRow, changed)


async def _request_cancel(
    connection: AsyncConnection, row: PaymentRow, request: dict[str, Any], by: ChangeContext
) -> PaymentRow:
    # A worker that is calling the provider keeps its lease, and finds the request when it records the answer. Otherwise the
    # payment is due now, even if it waits for a review, because the cancel comes from a person.
    is_held = row["lease_until"] is not None and row["lease_until"] > by.at
    changes = request if is_held else {**request, "due_at": by.at, "inquiries": 0}
    if row["due_at"] is None:
        changes["unanswered_claims"] = 0  # the payment may be quarantined; allow three more claims, as a requeue does
    changed = await apply(
        connection, PAYMENT, entity_id=row["id"], event=PaymentRemark.REQUEST_CANCEL, by=by, changes=changes
    )
    return cast(PaymentRow, changed)


Act = Callable[[AsyncConnection, PaymentRow, dict[str, Any], ChangeContext], Awaitable[PaymentRow]]

_ACTS: Mapping[str, Act] = {PaymentStatus.PENDING: _cancel_at_once, PaymentStatus.PROCESSING: _request_cancel}
"""What a cancel does, by the status of the payment."""


def _has_moved(row: PaymentRow, *, at: datetime, payments: PaymentWorkload) -> bool:
    """Return whether this payment reports money that has already moved."""
    claimed = cast(ClaimedPayment, {**row, "now": at})
    return isinstance(
        charge_locally(row["provider"], payments.build_request(claimed, payments.facts(claimed, None), "")), Succeeded
    )


async def _complete_reported_sale(
    connection: AsyncConnection,
    payment_id: str,
    cancel: dict[str, Any],
    *,
    by: ChangeContext,
    payments: PaymentWorkload,
) -> PaymentRow:
    """Complete a pending payment whose money has moved. Return its row.

    The transaction has locked the payment and its bill. ``cancel`` has the columns that the cancel sets.
    """
    await switch_role(connection, Role.WORKER)
    worker = f"api for {by.caller_id}"
    (claim,) = await payments.start(connection, [payment_id], worker=worker, lease_seconds=LEASE_SECONDS)
    await apply(connection, PAYMENT, entity_id=payment_id, event=PaymentRemark.REQUEST_CANCEL, by=by, changes=cancel)
    answer = payments.answer_locally(claim)
    decision = decide(claim.step, answer, facts=claim.facts, policy=NO_CALLS)
    await payments.record(connection, [AnsweredClaim(claim, answer, decision)], worker=worker)
    row = (await connection.execute(_ROW, {"id": payment_id})).mappings().one()
    return cast(PaymentRow, dict(row))

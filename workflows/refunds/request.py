"""Request a refund: record it as pending and reserve its amount, in one transaction.

``workflows.refunds.intake`` does the same in groups for payments that nobody else changes meanwhile.

| step  | what                                                                                   |
|-------|----------------------------------------------------------------------------------------|
| lock  | the payment's row, so that concurrent requests are checked one after the other         |
| check | only a completed or refunded payment, only up to what is left of ``amount + tip``      |
| write | the reservation on the payment, the refund, its history, its idempotency record          |

Who refunds the money depends on the payment's provider:

| payment                           | refund                                                                            |
|-----------------------------------|-----------------------------------------------------------------------------------|
| charged by a provider             | a worker asks that provider                                                       |
| cash                              | the cashier has paid it out: the request is the report                            |
| the terminal's own card           | as ``report`` says, or needs action until the terminal reports it                 |
| cash or card, after a late cancel | needs action: the money is not refunded yet (``late_cancels``)                      |

The database's own constraint (``refund_reserved <= captured_amount``) checks the amount a second time.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import text

from workflows.database.connection import Connection
from workflows.database.engines import rows_parameter
from workflows.database.json_rendering import render
from workflows.errors import Detail, InvalidRequest, InvalidStatusTransition
from workflows.ids import new_id
from workflows.payments.states import PaymentStatus
from workflows.providers.registry import is_local, request_is_report
from workflows.refunds.models import LockedPayment, NewRefund, RefundedPayment
from workflows.refunds.queries import refund_fields
from workflows.refunds.report_manual_refund import Report
from workflows.refunds.states import REFUND, RefundRemark
from workflows.requests.idempotency import Key, StoredAnswer, known_answer, store_answer
from workflows.tenants.caller import Caller, hot_caller_transaction
from workflows.tenants.query_helpers import one_text_row
from workflows.tenants.scope import IN_SCOPE, scope_params
from workflows.transitions import ChangeContext, append_history

REFUNDABLE = frozenset({PaymentStatus.COMPLETED, PaymentStatus.REFUNDED})


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A requested refund. ``amount`` is in minor units; ``None`` means the whole remaining amount.

    ``report`` is the terminal's report of a refund that was carried out already.
    """

    amount: int | None
    reason: str
    staff_code: str
    metadata: dict[str, Any] = field(default_factory=dict)
    report: Report | None = None


_LOCK = text(f"""
    SELECT id, merchant_id, store_id, status, currency, captured_amount, refund_reserved, provider, clock_timestamp() AS now
    FROM payments WHERE id = :id AND {IN_SCOPE} FOR UPDATE
""")
_RESERVE = text("""
    UPDATE payments SET refund_reserved = refund_reserved + :amount, needs_action = needs_action OR :needs_action
    WHERE id = :id
""")
COLUMNS = """
    id, merchant_id, store_id, payment_id, status, version, amount, currency, reason, staff_code, metadata, provider,
    needs_action, report, reported_at, due_at, request_id, created_at"""
"""The columns that a request sets. All others have their defaults."""

_INSERT = text(f"""
    INSERT INTO refunds ({COLUMNS}) SELECT {COLUMNS} FROM jsonb_populate_recordset(NULL::refunds, CAST(:rows AS jsonb))
""")


async def request_refund(
    payment_id: str, request: RefundRequest, *, caller: Caller, key: Key, request_id: str, grace_seconds: float
) -> StoredAnswer:
    """Lock the payment and record a pending refund, or find the stored answer; return the answer.

    ``RefundIntake`` accepts most requests without this transaction. If the nudge of the refund is lost, the sweep nudges it
    after ``grace_seconds``.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (the payment is not completed), ``InvalidRequest`` (more than
    is left, or a report for a provider that refunds the money itself), ``IdempotencyKeyReused``, ``NotAuthorized``,
    ``ServiceUnavailable``.
    """
    async with hot_caller_transaction(caller) as connection:
        payment = cast(LockedPayment, await one_text_row(connection, _LOCK, {"id": payment_id, **scope_params(caller)}))
        # Read under the payment's lock, so that the second of two requests with one key finds the first one's stored answer.
        known = await known_answer(connection, payment["merchant_id"], key)
        if known:
            return known
        amount = check_amount(payment, request)
        by = ChangeContext.caller(caller, at=payment["now"], request_id=request_id)
        needs_action = is_left_to_a_person(payment, request)
        row = await write_refund(
            connection, payment, request, amount=amount, by=by, needs_action=needs_action, grace_seconds=grace_seconds
        )
        stored = StoredAnswer(201, render(refund_fields(row)), resource_id=row["id"], is_replay=False)
        await store_answer(connection, payment["merchant_id"], key, stored)
    return stored


def check_amount(payment: LockedPayment, request: RefundRequest) -> int:
    """Return the amount to refund.

    Raises ``InvalidStatusTransition`` if the payment cannot be refunded, and ``InvalidRequest`` if less than the requested
    amount is left, or if the request has a report although a provider refunds the money.
    """
    if payment["status"] not in REFUNDABLE:
        raise InvalidStatusTransition(
            Detail("status", f"The payment is {payment['status']}; only a completed or refunded one can be refunded"),
            message=f"This payment is {payment['status']} and cannot be refunded",
        )
    left: int = payment["captured_amount"] - payment["refund_reserved"]
    if left == 0:
        raise InvalidRequest(Detail("amount", "Nothing of this payment is left to refund"))
    amount = left if request.amount is None else request.amount
    if amount > left:
        raise InvalidRequest(Detail("amount", f"Must be at most {left}, which is what is left of this payment"))
    if request.report is not None and not is_local(payment["provider"]):
        raise InvalidRequest(
            Detail("report", f"The provider {payment['provider']} returns this money itself; leave `report` out")
        )
    return amount


def is_left_to_a_person(payment: RefundedPayment, request: RefundRequest) -> bool:
    """Return whether a person still has to refund the money of the payment."""
    local = is_local(payment["provider"])
    return local and request.report is None and not request_is_report(payment["provider"])


async def write_refund(
    connection: Connection,
    payment: RefundedPayment,
    request: RefundRequest,
    *,
    amount: int,
    by: ChangeContext,
    needs_action: bool,
    grace_seconds: float = 0,
) -> NewRefund:
    """Reserve ``amount`` on the payment, and write the pending refund.

    The transaction has locked the payment's row. A refund that ``needs_action`` is never due, so no worker claims it.
    Its history then has a second row, which says so.
    """
    row = new_refund(payment, request, amount=amount, by=by)
    row["needs_action"] = needs_action
    row["version"] = 2 if needs_action else 1
    row["due_at"] = None if needs_action else by.at + timedelta(seconds=grace_seconds)
    reservation = {"id": payment["id"], "amount": amount, "needs_action": needs_action}
    await connection.execute(_RESERVE, reservation)
    await connection.execute(_INSERT, {"rows": rows_parameter([row])})
    await append_history(connection, REFUND, {**row, "version": 1}, event="create", source=None, by=by)
    if needs_action:
        await append_history(connection, REFUND, row, event=RefundRemark.AWAIT_ACTION, source=REFUND.initial[0], by=by)
    return row


def new_refund(payment: RefundedPayment, request: RefundRequest, *, amount: int, by: ChangeContext) -> NewRefund:
    """Return the row of a pending refund in its first version."""
    return {
        "id": new_id("refund"),
        "merchant_id": payment["merchant_id"],
        "store_id": payment["store_id"],
        "payment_id": payment["id"],
        "status": REFUND.initial[0],
        "version": 1,
        "amount": amount,
        "currency": payment["currency"],
        "reason": request.reason,
        "staff_code": request.staff_code,
        "metadata": request.metadata,
        "report": request.report,
        "reported_at": by.at if request.report else None,
        "provider": payment["provider"],
        "outcome_known": True,
        "needs_review": False,
        "needs_action": False,
        "due_at": None,
        "request_id": by.request_id,
        "created_at": by.at,
    }

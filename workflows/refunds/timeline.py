"""The timeline of a payment with all that was given back of it, and what both did to its bill."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.models import BillHistory
from workflows.payments.models import Payment
from workflows.payments.queries import attempt_events, message_event, read_timeline, transition_event
from workflows.refunds.models import Refund, RefundAttempt, RefundHistory, RefundMessage
from workflows.tenants.caller import Caller, caller_transaction


async def read_whole_timeline(payment_id: str, *, caller: Caller) -> list[dict[str, Any]]:
    """What happened to a payment, its refunds and, by them, its bill, oldest first.

    A refund's entries name it by ``refund_id``, the bill's by ``bill_id``, with the payment or refund as their reason.
    Raises ``ResourceNotFound`` where the caller may not see the payment.
    """
    events = await read_timeline(payment_id, caller=caller)
    async with caller_transaction(caller) as connection:
        events += await _refund_events(connection, payment_id)
        events += await _bill_events(connection, payment_id)
    return sorted(events, key=lambda event: event["at"])


async def _refund_events(connection: AsyncConnection, payment_id: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for model, show in (
        (RefundHistory, lambda row: [transition_event(row)]),
        (RefundAttempt, attempt_events),
        (RefundMessage, lambda row: [message_event(row)]),
    ):
        rows = await connection.execute(select(model.__table__).where(model.refund_id.in_(_refunds_of(payment_id))))
        for row in rows.mappings():
            events += [{**event, "refund_id": row["refund_id"]} for event in show(dict(row))]
    return events


async def _bill_events(connection: AsyncConnection, payment_id: str) -> list[dict[str, Any]]:
    """What this payment and its refunds did to the bill; what others did to it is not this payment's story."""
    bill_id = select(Payment.bill_id).where(Payment.id == payment_id).scalar_subquery()
    by_this = (BillHistory.reason == payment_id) | BillHistory.reason.in_(_refunds_of(payment_id))
    rows = await connection.execute(select(BillHistory.__table__).where(BillHistory.bill_id == bill_id, by_this))
    return [{**transition_event(dict(row)), "bill_id": row["bill_id"]} for row in rows.mappings()]


def _refunds_of(payment_id: str) -> Any:
    return select(Refund.id).where(Refund.payment_id == payment_id)

"""The timeline of a payment with all that was given back of it."""

from typing import Any

from sqlalchemy import select

from workflows.payments.queries import attempt_events, message_event, read_timeline, transition_event
from workflows.refunds.models import Refund, RefundAttempt, RefundHistory, RefundMessage
from workflows.tenants.caller import Caller, caller_transaction


async def read_whole_timeline(payment_id: str, *, caller: Caller) -> list[dict[str, Any]]:
    """What happened to a payment and its refunds, oldest first. A refund's entries name it by ``refund_id``.

    Raises ``ResourceNotFound`` where the caller may not see the payment.
    """
    events = await read_timeline(payment_id, caller=caller)
    refund_ids = select(Refund.id).where(Refund.payment_id == payment_id)
    async with caller_transaction(caller) as connection:
        for model, show in (
            (RefundHistory, lambda row: [transition_event(row)]),
            (RefundAttempt, attempt_events),
            (RefundMessage, lambda row: [message_event(row)]),
        ):
            rows = await connection.execute(select(model.__table__).where(model.refund_id.in_(refund_ids)))
            for row in rows.mappings():
                events += [{**event, "refund_id": row["refund_id"]} for event in show(dict(row))]
    return sorted(events, key=lambda event: event["at"])

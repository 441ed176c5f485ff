"""Read the timeline of a payment with its refunds, their effect on its bill, and their settlements.

It reads tables of every entity, so it stands above them all.
"""

from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.models import BillHistory
from workflows.payments.models import Payment
from workflows.payments.queries import attempt_events, merged, message_event, read_timeline, transition_event
from workflows.refunds.models import Refund, RefundAttempt, RefundHistory, RefundMessage
from workflows.tenants.caller import Caller, caller_transaction

_LINES = text("""
    -- lines: of the payment and of its refunds, which are written when their settlement closes; and of the corrections of
    -- either, which are written when a break is resolved
    SELECT l.kind, l.entity_id, l.settlement_id, l.amount, l.fee, l.currency, l.business_date, l.is_late,
           CASE l.kind WHEN 'adjustment' THEN l.occurred_at ELSE coalesce(s.closed_at, l.occurred_at) END AS at
    FROM settlement_lines l JOIN settlements s ON s.id = l.settlement_id
    WHERE (l.kind = 'payment' AND l.entity_id = :payment_id)
       OR (l.kind = 'refund' AND l.entity_id IN (SELECT id FROM refunds WHERE payment_id = :payment_id))
       OR (l.kind = 'adjustment' AND l.payment_id = :payment_id)
""")

_EVIDENCE = text("""
    -- evidence: lines of a provider's statement that were the answer about an attempt of the payment or of its refunds
    SELECT entity_id, attempt, answer, at, by, settlement_id, statement_id, lines, withdrawn_at FROM statement_evidence
    WHERE entity_id = :payment_id OR entity_id IN (SELECT id FROM refunds WHERE payment_id = :payment_id)
    ORDER BY number
""")


async def read_whole_timeline(payment_id: str, *, caller: Caller) -> list[dict[str, Any]]:
    """Return the events of a payment, its refunds, its bill and its settlement lines, oldest first.

    A refund's entries name it by ``refund_id``, the bill's by ``bill_id``, with the payment or refund as their reason.
    Raises ``ResourceNotFound`` if the caller may not see the payment.
    """
    of_payment = await read_timeline(payment_id, caller=caller)
    async with caller_transaction(caller) as connection:
        of_refunds = await _refund_events(connection, payment_id)
        of_bill = await _bill_events(connection, payment_id)
        of_settlements = await _settlement_events(connection, payment_id)
        of_statements = await _statement_events(connection, payment_id)
    return merged(of_payment, *of_refunds, of_bill, *([event] for event in (*of_statements, *of_settlements)))


async def _refund_events(connection: AsyncConnection, payment_id: str) -> list[list[dict[str, Any]]]:
    """Return the events of the refunds: the history, the attempts and the messages of each."""
    stories: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for model, number, show in (
        (RefundHistory, RefundHistory.version, lambda row: [transition_event(row)]),
        (RefundAttempt, RefundAttempt.number, attempt_events),
        (RefundMessage, RefundMessage.number, lambda row: [message_event(row)]),
    ):
        wanted = select(model.__table__).where(model.refund_id.in_(_refunds_of(payment_id))).order_by(number)
        for row in (await connection.execute(wanted)).mappings():
            story = stories.setdefault((row["refund_id"], model.__name__), [])
            story += [{**event, "refund_id": row["refund_id"]} for event in show(dict(row))]
    return [*stories.values()]


async def _bill_events(connection: AsyncConnection, payment_id: str) -> list[dict[str, Any]]:
    """Return the changes of the bill by this payment and its refunds, without those by other payments."""
    bill_id = select(Payment.bill_id).where(Payment.id == payment_id).scalar_subquery()
    by_this = (BillHistory.reason == payment_id) | BillHistory.reason.in_(_refunds_of(payment_id))
    wanted = select(BillHistory.__table__).where(BillHistory.bill_id == bill_id, by_this)
    rows = await connection.execute(wanted.order_by(BillHistory.version))
    return [{**transition_event(dict(row)), "bill_id": row["bill_id"]} for row in rows.mappings()]


async def _settlement_events(connection: AsyncConnection, payment_id: str) -> list[dict[str, Any]]:
    names = ("at", "settlement_id", "amount", "fee", "currency", "business_date", "is_late")
    rows = await connection.execute(_LINES, {"payment_id": payment_id})
    return [
        {
            "type": "adjusted" if row["kind"] == "adjustment" else "settled",
            **{name: row[name] for name in names},
            **({f"{row['kind']}_id": row["entity_id"]} if row["kind"] != "payment" else {}),
        }
        for row in rows.mappings()
    ]


async def _statement_events(connection: AsyncConnection, payment_id: str) -> list[dict[str, Any]]:
    """Return the lines of statements that were answers about the payment and its refunds."""
    names = ("at", "attempt", "answer", "settlement_id", "statement_id", "lines", "by", "withdrawn_at")
    rows = await connection.execute(_EVIDENCE, {"payment_id": payment_id})
    return [
        {
            "type": "statement",
            **{name: row[name] for name in names},
            **({} if row["entity_id"] == payment_id else {"refund_id": row["entity_id"]}),
        }
        for row in rows.mappings()
    ]


def _refunds_of(payment_id: str) -> Any:
    return select(Refund.id).where(Refund.payment_id == payment_id)

"""Read the timeline of a payment: its events, those of its refunds, and their effects on its bill and settlements.

The module reads tables of every entity, so it is in a layer above them all.
"""

from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.models import BillHistory
from workflows.payments.archived import explains_archived
from workflows.payments.models import Payment
from workflows.payments.queries import attempt_events, merge_events, message_event, read_timeline, transition_event
from workflows.refunds.models import Refund, RefundAttempt, RefundHistory, RefundMessage
from workflows.tenants.caller import Caller, caller_transaction

_LINES = text("""
    -- lines: the settlement lines of the payment and its refunds, which are written when a settlement closes, and the lines of
    -- their corrections, which are written when a break is resolved
    SELECT l.kind, l.entity_id, l.settlement_id, l.amount, l.fee, l.currency, l.business_date, l.is_late,
           CASE l.kind WHEN 'adjustment' THEN l.occurred_at ELSE coalesce(s.closed_at, l.occurred_at) END AS at
    FROM settlement_lines l JOIN settlements s ON s.id = l.settlement_id
    WHERE (l.kind = 'payment' AND l.entity_id = :payment_id)
       OR (l.kind = 'refund' AND l.entity_id IN (SELECT id FROM refunds WHERE payment_id = :payment_id))
       OR (l.kind = 'adjustment' AND l.payment_id = :payment_id)
""")

_EVIDENCE = text("""
    -- evidence: statement lines that decided the outcome of an attempt of the payment or of its refunds
    SELECT entity_id, attempt, answer, at, by, settlement_id, statement_id, lines, withdrawn_at FROM statement_evidence
    WHERE entity_id = :payment_id OR entity_id IN (SELECT id FROM refunds WHERE payment_id = :payment_id)
    ORDER BY number
""")


@explains_archived
async def read_whole_timeline(payment_id: str, *, caller: Caller) -> list[dict[str, Any]]:
    """Return the events of a payment, its refunds, its bill and its settlement lines, oldest first.

    Events of a refund have its ``refund_id``. Events of the bill have its ``bill_id``; their ``reason`` is the id of the
    payment or refund that caused them.
    Raises ``ResourceNotFound`` if the caller may not see the payment.
    """
    of_payment = await read_timeline(payment_id, caller=caller)
    async with caller_transaction(caller) as connection:
        of_refunds = await _refund_events(connection, payment_id)
        of_bill = await _bill_events(connection, payment_id)
        of_settlements = await _settlement_events(connection, payment_id)
        of_statements = await _statement_events(connection, payment_id)
    return merge_events(of_payment, *of_refunds, of_bill, *([event] for event in (*of_statements, *of_settlements)))


async def _refund_events(connection: AsyncConnection, payment_id: str) -> list[list[dict[str, Any]]]:
    """Return the events of the payment's refunds, in separate lists.

    The history, the attempts and the messages of each refund are a list of their own.
    """
    events_by_source: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for model, number, to_events in (
        (RefundHistory, RefundHistory.version, lambda row: [transition_event(row)]),
        (RefundAttempt, RefundAttempt.number, attempt_events),
        (RefundMessage, RefundMessage.number, lambda row: [message_event(row)]),
    ):
        statement = select(model.__table__).where(model.refund_id.in_(_refunds_of(payment_id))).order_by(number)
        for row in (await connection.execute(statement)).mappings():
            events = events_by_source.setdefault((row["refund_id"], model.__name__), [])
            events += [{**event, "refund_id": row["refund_id"]} for event in to_events(dict(row))]
    return [*events_by_source.values()]


async def _bill_events(connection: AsyncConnection, payment_id: str) -> list[dict[str, Any]]:
    """Return the changes of the bill that this payment and its refunds caused."""
    bill_id = select(Payment.bill_id).where(Payment.id == payment_id).scalar_subquery()
    by_this = (BillHistory.reason == payment_id) | BillHistory.reason.in_(_refunds_of(payment_id))
    statement = select(BillHistory.__table__).where(BillHistory.bill_id == bill_id, by_this)
    rows = await connection.execute(statement.order_by(BillHistory.version))
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
    """Return the statement lines that decided the outcome of the payment or its refunds."""
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

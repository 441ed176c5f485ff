"""Find payments and refunds whose evidence, a statement's line, is missing from the newest statement.

A provider may correct a statement, or a person may replace the file that was confirmed. The payment's status does not change,
because a final status never does. Instead the payment is flagged for a person (``needs_review``), and an error is logged. If
the payment's own settlement is compared later, the missing line is a break there as well.

| the newest statement of the settlement and provider whose statement had the line | then                                    |
|----------------------------------------------------------------------------------|-----------------------------------------|
| still has the line                                                               | nothing                                 |
| lacks the line, has a lower amount, or reverses it                               | ``needs_review``                        |
| has the line again                                                               | the review ends                         |
| lists a charge that had been reversed                                            | nothing: a ``status_mismatch`` is found |

The review also ends when a person resolves the break of the payment's own line.
"""

import logging

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, switch_role
from workflows.payments.states import PAYMENT, PaymentRemark
from workflows.refunds.states import REFUND, RefundRemark
from workflows.transitions import ChangeContext, apply

logger = logging.getLogger(__name__)

REASON, BACK = "its statement no longer lists it", "its statement lists it again"

_CHANGED = text("""
    -- changed: evidence of moved money that the newest statement contradicts, or that it lists again
    WITH newest AS (
        SELECT DISTINCT ON (provider) id, provider FROM statements WHERE settlement_id = :id ORDER BY provider, number DESC
    ), compared AS (
        SELECT e.entity_id, e.number, n.id AS statement_id, e.withdrawn_at, e.amount > coalesce((
            SELECT abs(sum(l.amount)) FROM statement_lines l
            WHERE l.statement_id = n.id AND l.our_reference = e.our_reference AND l.is_settled
              AND (l.kind = 'refund') = (e.entity_id LIKE 'rfd%')), 0) AS is_gone
        FROM statement_evidence e JOIN newest n ON n.provider = e.provider
        WHERE e.settlement_id = :id AND (e.statement_id <> n.id OR e.withdrawn_at IS NOT NULL) AND e.answer = 'succeeded'
          AND e.status = 'completed'
    )
    SELECT entity_id, number, statement_id, is_gone, clock_timestamp() AS now FROM compared
    WHERE is_gone = (withdrawn_at IS NULL) ORDER BY entity_id LIMIT 1000
""")
_IN_REVIEW = text("""
    SELECT EXISTS (SELECT FROM statement_evidence WHERE entity_id = :id AND withdrawn_at IS NOT NULL) AND EXISTS (
        SELECT FROM payments WHERE id = :id AND needs_review UNION ALL SELECT FROM refunds WHERE id = :id AND needs_review)
""")
_MARK = text("UPDATE statement_evidence SET withdrawn_at = :at WHERE entity_id = :entity_id AND number = :number")
_NOTIFY = text("SELECT pg_notify(:channel, :change)")
REMARKS = {
    "pay": (PAYMENT, PaymentRemark.REQUEST_REVIEW, PaymentRemark.REVIEWED),
    "rfd": (REFUND, RefundRemark.REQUEST_REVIEW, RefundRemark.REVIEWED),
}


async def flag_vanished_lines(connection: AsyncConnection, settlement_id: str, *, by: str) -> None:
    """Request a review of rows whose evidence is gone, and end the review of rows whose evidence is back.

    The transaction needs a worker's rights.
    """
    for row in (await connection.execute(_CHANGED, {"id": settlement_id})).mappings().all():
        reason = f"{REASON if row['is_gone'] else BACK} ({row['statement_id']})"
        context = ChangeContext("worker", by, row["now"], reason=reason)
        await _remark(connection, row["entity_id"], context, is_gone=row["is_gone"])
        marked = {"entity_id": row["entity_id"], "number": row["number"], "at": row["now"] if row["is_gone"] else None}
        await connection.execute(_MARK, marked)


async def end_review(connection: AsyncConnection, entity_id: str | None, *, by: ChangeContext) -> None:
    """End the review of a row whose evidence is gone, after a person resolved the break of its line."""
    if entity_id and (await connection.execute(_IN_REVIEW, {"id": entity_id})).scalar_one():
        await switch_role(connection, Role.WORKER)
        await _remark(connection, entity_id, by, is_gone=False)
        await switch_role(connection, Role.CALLER)


async def _remark(connection: AsyncConnection, entity_id: str, by: ChangeContext, *, is_gone: bool) -> None:
    machine, request, reviewed = REMARKS[entity_id[:3]]
    event, changes = request if is_gone else reviewed, {"needs_review": is_gone}
    moved = await apply(connection, machine, entity_id=entity_id, event=event, by=by, changes=changes)
    await connection.execute(_NOTIFY, {"channel": f"{machine.name}s", "change": f"{entity_id}:{moved['version']}"})
    if is_gone:
        logger.error(
            "%s %s: %s, compare it with the provider",
            machine.name,
            entity_id,
            by.reason,
            extra={"event": f"{machine.name}.evidence_withdrawn", f"{machine.name}_id": entity_id},
        )

"""Withdrawn: find payments that were completed by a statement's line which the statement that counts no longer has.

A provider corrects a statement, or a person replaces the file that was confirmed. The payment keeps its status, since a final
status never changes: a person is asked instead (``needs_review``), once, and the log says so. Where the payment's own
settlement is compared afterwards, the line that is missing there is a break as well.

| the newest statement of that settlement and provider | then                                                        |
|------------------------------------------------------|-------------------------------------------------------------|
| still says that the money moved                      | nothing                                                     |
| lacks the line, or has another amount, or undoes it  | ``needs_review`` for the payment or refund                  |
| lists a charge that had been undone                  | nothing here: the run finds a ``status_mismatch``            |
"""

import logging
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.payments.states import PAYMENT, PaymentRemark
from workflows.refunds.states import REFUND, RefundRemark
from workflows.transitions import By, apply

logger = logging.getLogger(__name__)

REASON = "its statement no longer lists it"

_WITHDRAWN = text("""
    -- withdrawn: evidence of money that moved, from a statement that was superseded by one which says otherwise
    WITH newest AS (
        SELECT DISTINCT ON (provider) id, provider FROM statements WHERE settlement_id = :id ORDER BY provider, number DESC
    )
    SELECT e.entity_id, e.number, n.id AS statement_id, clock_timestamp() AS now
    FROM statement_evidence e JOIN newest n ON n.provider = e.provider
    WHERE e.settlement_id = :id AND e.statement_id <> n.id AND e.answer = 'succeeded' AND e.status = 'completed'
      AND e.withdrawn_at IS NULL AND e.amount > coalesce((
          SELECT abs(sum(l.amount)) FROM statement_lines l
          WHERE l.statement_id = n.id AND l.our_reference = e.our_reference AND l.is_settled
            AND (l.kind = 'refund') = (e.entity_id LIKE 'rfd%')), 0)
    ORDER BY e.entity_id LIMIT 1000
""")
_MARK = text("UPDATE statement_evidence SET withdrawn_at = :now WHERE entity_id = :entity_id AND number = :number")
_TELL = text("SELECT pg_notify(:channel, :change)")


async def flag_withdrawn(connection: AsyncConnection, settlement_id: str, *, by: str) -> int:
    """Have a person look at each row whose evidence is gone; return how many there are. Needs a worker's rights."""
    found = (await connection.execute(_WITHDRAWN, {"id": settlement_id})).mappings().all()
    for row in found:
        await _flag(connection, row, by)
    return len(found)


async def _flag(connection: AsyncConnection, row: RowMapping, by: str) -> None:
    entity_id: str = row["entity_id"]
    machine, remark = (
        (PAYMENT, PaymentRemark.REQUEST_REVIEW)
        if entity_id.startswith("pay_")
        else (REFUND, RefundRemark.REQUEST_REVIEW)
    )
    who = By("worker", by, row["now"], reason=f"{REASON} ({row['statement_id']})")
    changes: dict[str, Any] = {"needs_review": True}
    moved = await apply(connection, machine, entity_id=entity_id, event=remark, by=who, changes=changes)
    await connection.execute(_TELL, {"channel": f"{machine.name}s", "change": f"{entity_id}:{moved['version']}"})
    await connection.execute(_MARK, {name: row[name] for name in ("now", "entity_id", "number")})
    logger.error(
        "%s %s was completed by a statement's line that %s no longer has: compare it with the provider",
        machine.name,
        entity_id,
        row["statement_id"],
        extra={"event": f"{machine.name}.evidence_withdrawn", f"{machine.name}_id": entity_id},
    )

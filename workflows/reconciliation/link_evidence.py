"""Link the breaks about lines that ended a doubt: the difference is explained without a person.

| the break                                                                | is linked to                             |
|--------------------------------------------------------------------------|------------------------------------------|
| a line of theirs that was the answer about a payment or refund of ours    | that payment or refund                   |
| a line of ours that ended by it, and is missing on its own statement      | the break of the statement that lists it |

Amounts and fees have to agree exactly. ``resolved_by`` is the statement. If a later statement no longer has the line, its
break is not found by that run, and the second one is open again (``rebook``).
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.rows import SettlementRow

_THEIRS = text("""
    -- link theirs: by the whole line except its number in the file; a second equal line is another break
    UPDATE breaks b SET resolution = 'link', reference = e.entity_id, resolved_at = :at, resolved_by = e.statement_id
    FROM statement_evidence e
    WHERE b.settlement_id = :id AND b.run = :run AND b.resolution IS NULL AND b.our_line IS NULL
      AND b.category IN ('date_mismatch', 'status_mismatch')
      AND e.entity_id = split_part(b.our_reference, ':', 1) AND e.our_reference = b.our_reference
      AND e.provider = b.provider AND e.store_id = b.store_id AND e.status <> 'processing'
      AND EXISTS (SELECT FROM jsonb_array_elements(e.lines) l
                  WHERE l - 'line_number' = jsonb_build_object(
                      'kind', b.kind, 'amount', b.their_line -> 'amount', 'fee', b.their_line -> 'fee',
                      'currency', b.their_line -> 'currency', 'provider_reference', b.their_line -> 'provider_reference',
                      'occurred_at', b.their_line -> 'occurred_at', 'occurred_on', b.their_line -> 'occurred_on'))
""")
_OURS = text("""
    -- link ours: to the break of the settlement whose current statement lists it
    UPDATE breaks b SET resolution = 'link', reference = o.id, resolved_at = :at, resolved_by = e.statement_id
    FROM statement_evidence e JOIN breaks o ON o.settlement_id = e.settlement_id
    WHERE b.settlement_id = :id AND b.run = :run AND b.resolution IS NULL AND b.their_line IS NULL
      AND b.category = 'missing_at_provider' AND e.entity_id = b.entity_id AND e.status = 'completed'
      AND o.our_line IS NULL AND o.our_reference = e.our_reference AND o.reference = e.entity_id
      AND o.resolution IN ('link', 'confirm') AND o.settlement_id <> b.settlement_id
      AND o.difference = -b.difference AND o.fee_difference = -b.fee_difference
      AND o.run = (SELECT max(number) FROM reconciliation_runs r WHERE r.settlement_id = o.settlement_id)
""")


async def link_evidence(connection: AsyncConnection, settlement: SettlementRow, *, run: int, at: datetime) -> int:
    """Link the breaks of ``run`` that evidence explains, and return how many ended."""
    parameters = {"id": settlement["id"], "run": run, "at": at}
    return sum([(await connection.execute(statement, parameters)).rowcount for statement in (_THEIRS, _OURS)])

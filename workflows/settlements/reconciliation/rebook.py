"""Rebook: what was resolved holds for what it was said of, and no longer, when a corrected statement changes what is found.

| a break                                          | what a run does                                                     |
|--------------------------------------------------|---------------------------------------------------------------------|
| that was booked and is not found any more         | books its adjustment the other way round, in the running settlement  |
| that was booked back and is found again           | books it again: somebody decided that for this very difference       |
| that is still found, its link's other end is not  | opens it: what is left of the two has no counterpart                 |

Without the first, a correction of a correction would be booked on top of it. A break's ``reference`` is its last adjustment;
whether that has the sign of the break or the other one says whether it is booked.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.adjust import Adjustment, write_adjustment

_TURNED = text("""
    -- turned: booked and not found by this run, or booked back and found again
    SELECT b.id, l.store_id, l.currency, l.provider, l.amount, l.payment_id, l.provider_reference, l.our_reference
    FROM breaks b JOIN settlement_lines l ON l.kind = 'adjustment' AND l.entity_id = b.reference
    WHERE b.settlement_id = :id AND b.resolution IN ('adjust', 'write_off')
      AND l.amount = (b.fee_difference - b.difference) * CASE WHEN b.run = :run THEN -1 ELSE 1 END
    ORDER BY l.provider, b.id -- accounts are opened in the same order by everybody
""")
_REFER = text("UPDATE breaks SET reference = :reference WHERE id = :id")
_UNLINK = text("""
    -- unlink: still found, and linked to a break that is not
    UPDATE breaks b SET resolution = NULL, note = NULL, reference = NULL, resolved_at = NULL, resolved_by = NULL
    FROM breaks other
    WHERE b.settlement_id = :id AND b.run = :run AND b.resolution = 'link' AND other.id = b.reference AND other.run < :run
""")


async def rebook(connection: AsyncConnection, settlement_id: str, *, run: int, at: datetime) -> int:
    """Book what ``run`` turns round, in its transaction; returns how many of its breaks are open because of it."""
    found = {"id": settlement_id, "run": run}
    for row in (await connection.execute(_TURNED, found)).mappings().all():
        facts = {name: row[name] for name in row if name not in ("id", "amount")}
        adjustment = Adjustment(**facts, amount=-row["amount"], occurred_at=at)
        await connection.execute(_REFER, {"id": row["id"], "reference": await write_adjustment(connection, adjustment)})
    return (await connection.execute(_UNLINK, found)).rowcount

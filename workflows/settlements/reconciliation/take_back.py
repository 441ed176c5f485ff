"""Take back: what was resolved by something that a run, after a corrected statement, does not find any more.

| a break                                         | becomes                                                           |
|-------------------------------------------------|-------------------------------------------------------------------|
| that was booked and is not found any more        | its adjustment is booked the other way round, in the running settlement |
| that is still found, its link's other end is not | open: what is left of the two has no counterpart                   |

Without the first, a correction of a correction would be booked on top of it. A break that was booked back is open, should a
later run find it again.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.adjust import Adjustment, write_adjustment

_GONE = text("""
    -- gone: booked by an adjustment, and not found by this run
    SELECT b.id, l.store_id, l.currency, l.provider, l.amount, l.payment_id, l.provider_reference, l.our_reference
    FROM breaks b JOIN settlement_lines l ON l.kind = 'adjustment' AND l.entity_id = b.reference
    WHERE b.settlement_id = :id AND b.run < :run AND b.resolution IN ('adjust', 'write_off')
    ORDER BY l.provider, b.id -- accounts are opened in the same order by everybody
""")
_REOPEN = """
    UPDATE breaks SET resolution = NULL, note = NULL, reference = NULL, resolved_at = NULL, resolved_by = NULL
    WHERE id = ANY({ids})
"""
_FORGET = text(_REOPEN.format(ids=":ids"))
_UNLINK = text(
    _REOPEN.format(
        ids="""ARRAY(
        SELECT b.id FROM breaks b JOIN breaks other ON other.id = b.reference
        WHERE b.settlement_id = :id AND b.run = :run AND b.resolution = 'link' AND other.run < :run)"""
    )
)


async def take_back(connection: AsyncConnection, settlement_id: str, *, run: int, at: datetime) -> int:
    """Take back what ``run`` does not bear out, in its transaction; returns how many of its breaks are open by that."""
    found = {"id": settlement_id, "run": run}
    gone = (await connection.execute(_GONE, found)).mappings().all()
    for row in gone:
        facts = {name: row[name] for name in row if name not in ("id", "amount")}
        await write_adjustment(connection, Adjustment(**facts, amount=-row["amount"], occurred_at=at))
    if gone:
        await connection.execute(_FORGET, {"ids": [row["id"] for row in gone]})
    return (await connection.execute(_UNLINK, found)).rowcount

"""Reverse or repeat a break's booking when a run no longer finds the break, or finds it again.

| a break                                      | what a run does                                                      |
|----------------------------------------------|----------------------------------------------------------------------|
| booked, and not found any more               | books its adjustments the other way round, in the running settlement |
| booked back, and found again                 | books them again: a person decided so for exactly this difference    |
| still found, but its link's other end is not | reopens it: it has no counterpart any more                           |
| of another settlement, booked before its sale was known | books it back and links it once that sale is a line here  |

Without the first rule, a corrected file would leave the old correction in the books; without the last, the money would be in
the books twice. A break's ``reference`` (and ``other_reference``, in the other currency) is its last adjustment; the sign of
that adjustment tells whether the break is booked or booked back.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.reconciliation.adjust import Adjustment, write_adjustment
from workflows.settlements.rows import SettlementRow

_SIDES = """CROSS JOIN LATERAL (VALUES
        ('reference', b.reference, b.fee_difference - b.difference),
        ('other_reference', b.other_reference,
         CAST(b.their_line ->> 'amount' AS bigint) - coalesce(CAST(b.their_line ->> 'fee' AS bigint), 0))
    ) AS side(name, adjustment_id, amount)"""
_TURNED = text(f"""
    -- turned: booked and not found by this run, or booked back and found again. The breaks are locked: a run of another
    -- settlement may be linking one of them (below).
    SELECT b.id, side.name, l.store_id, l.currency, l.provider, l.amount, l.payment_id, l.provider_reference, l.our_reference
    FROM breaks b {_SIDES} JOIN settlement_lines l ON l.kind = 'adjustment' AND l.entity_id = side.adjustment_id
    WHERE b.settlement_id = :id AND b.resolution IN ('adjust', 'write_off')
      AND l.amount = side.amount * CASE WHEN b.run = :run THEN -1 ELSE 1 END
    ORDER BY l.currency, l.provider, b.id, side.name -- the order in which all code locks settlements and opens accounts
    FOR NO KEY UPDATE OF b
""")
_REFER = {
    name: text(f"UPDATE breaks SET {name} = :reference WHERE id = :id") for name in ("reference", "other_reference")
}
_UNLINK = text("""
    -- unlink: still found, and linked to a break that its own settlement's last run did not find
    UPDATE breaks b SET resolution = NULL, note = NULL, reference = NULL, resolved_at = NULL, resolved_by = NULL
    FROM breaks other
    WHERE b.settlement_id = :id AND b.run = :run AND b.resolution = 'link' AND other.id = b.reference
      AND other.run < CASE other.settlement_id WHEN :id THEN :run
          ELSE (SELECT max(number) FROM reconciliation_runs r WHERE r.settlement_id = other.settlement_id) END
""")
_KNOWN_BY_NOW = text("""
    -- known by now: corrections for lines of theirs that matched none of ours then, and match a line of this settlement now
    SELECT b.id, b.reference, o.entity_id, l.store_id, l.currency, l.provider, l.amount, l.payment_id, l.provider_reference,
           l.our_reference
    FROM settlement_lines l
    JOIN breaks b ON b.reference = l.entity_id
    JOIN ours o ON o.provider = l.provider AND o.kind = CASE b.kind WHEN 'refund' THEN 'refund' ELSE 'payment' END
        AND o.currency = l.currency AND (o.our_reference = l.our_reference
            OR (o.provider_reference = l.provider_reference AND o.amount = CAST(b.their_line ->> 'amount' AS bigint)))
    WHERE l.store_id = :store_id AND l.kind = 'adjustment' AND b.settlement_id <> :id AND b.our_line IS NULL
      AND b.kind <> 'reversal' AND b.resolution IN ('adjust', 'write_off') AND l.amount = b.fee_difference - b.difference
      AND l.amount = (SELECT sum(a.amount) FROM settlement_lines a
                      WHERE a.store_id = :store_id AND a.kind = 'adjustment' AND a.provider = l.provider
                        AND (a.our_reference = l.our_reference OR a.our_reference = o.our_reference
                             OR a.provider_reference = l.provider_reference))
    ORDER BY l.provider, b.id
""")
_LINK = text("""
    -- link: replaces the correction, if that is still the break's last one
    UPDATE breaks SET resolution = 'link', reference = :entity_id,
        note = left(concat_ws(' ', note, 'Booked back: the sale is known by now and has a line of its own.'), 500)
    WHERE id = :id AND reference = :reference AND resolution IN ('adjust', 'write_off') RETURNING id
""")


async def rebook(connection: AsyncConnection, settlement: SettlementRow, *, run: int, at: datetime) -> int:
    """Reverse and repeat bookings after ``run``, and return how many of its breaks are open again."""
    found = {"id": settlement["id"], "run": run}
    for row in (await connection.execute(_TURNED, found)).mappings().all():
        reference = await write_adjustment(connection, _reversal(row, at=at))
        await connection.execute(_REFER[row["name"]], {"id": row["id"], "reference": reference})
    known = {"id": settlement["id"], "store_id": settlement["store_id"]}
    for row in (await connection.execute(_KNOWN_BY_NOW, known)).mappings().all():
        link = {name: row[name] for name in ("id", "reference", "entity_id")}
        if (await connection.execute(_LINK, link)).first():
            await write_adjustment(connection, _reversal(row, at=at))
    return (await connection.execute(_UNLINK, found)).rowcount


def _reversal(row: Any, *, at: datetime) -> Adjustment:
    names = ("store_id", "currency", "provider", "payment_id", "provider_reference", "our_reference")
    return Adjustment(**{name: row[name] for name in names}, amount=-row["amount"], occurred_at=at)

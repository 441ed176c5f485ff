"""Book corrections as lines of the running period, and reverse or repeat them when a run changes what they correct.

A closed settlement never changes, so a correction is a line of the running period. The line and its journal are written in the
caller's transaction. The running period is locked, so it cannot be closed between the two. If it is being closed, the
transaction waits, and the line goes into the next period. A store without a period in the adjustment's currency gets its first
one.

A run that no longer finds a break, or finds it again, changes its booking (``rebook``):

| a break                                                   | what a run does                                           |
|-----------------------------------------------------------|-----------------------------------------------------------|
| was booked, and is not found any more                     | books the opposite adjustments in the running settlement  |
| was reversed in this way, and is found again              | books them again: a person decided so for this difference |
| is still found, but the break that it is linked to is not | reopens it, because it has no counterpart any more        |
| was booked elsewhere, and its sale is a line here now     | reverses the booking and links the break to that sale     |

Without the first rule, a corrected file would leave the old correction in the books; without the last, the money would be in
the books twice. A break's ``reference`` (and ``other_reference``, in the other currency) is its last adjustment. The sign of
that adjustment tells whether the break is booked or reversed.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, ResourceNotFound
from workflows.ids import new_id
from workflows.ledger.post_journals import JournalKind, Transfer, post_transfer
from workflows.settlements.cutoff_rules import load_rules
from workflows.settlements.models import SettlementRow
from workflows.settlements.periods import first_period
from workflows.settlements.write_settlements import open_row, write_open
from workflows.transitions import ChangeContext


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A correction of ``amount`` minor units, by which ``provider`` owes more (or, if negative, less) than was settled.

    It has no payment method: the breakdown counts corrections as ``other``.
    """

    store_id: str
    currency: str
    provider: str
    amount: int
    occurred_at: datetime
    payment_id: str | None = None
    provider_reference: str | None = None
    our_reference: str | None = None


_RUNNING = text("""
    -- running: lock it against its close; if it is being closed, a repetition finds the next one
    SELECT id, merchant_id, business_date FROM settlements
    WHERE store_id = :store_id AND currency = :currency AND status = 'open' FOR UPDATE
""")
_HAS_CHAIN = text("SELECT EXISTS (SELECT FROM settlements WHERE store_id = :store_id AND currency = :currency)")
_LINE = text("""
    INSERT INTO settlement_lines (settlement_id, kind, entity_id, merchant_id, store_id, payment_id, provider,
        provider_reference, our_reference, currency, amount, occurred_at, business_date)
    VALUES (:settlement_id, 'adjustment', :entity_id, :merchant_id, :store_id, :payment_id, :provider,
        :provider_reference, :our_reference, :currency, :amount, :occurred_at, :business_date)
""")


CLOSES_WAITED_FOR = 5


async def _running(connection: AsyncConnection, adjustment: Adjustment) -> RowMapping:
    """Lock and return the running period. If the store has none in the currency, open it first.

    Raises ``ResourceNotFound`` if none can be opened.
    """
    wanted = {"store_id": adjustment.store_id, "currency": adjustment.currency}
    # A statement that waited for a close finds the closed period but not the next one, so it is repeated.
    for attempt in range(CLOSES_WAITED_FOR):  # untested: its end, which needs five closes in a row
        running = (await connection.execute(_RUNNING, wanted)).mappings().one_or_none()
        if running:
            return running
        if attempt == 1:
            await _open_first(connection, adjustment)
    raise ResourceNotFound(  # untested: the end of the loop
        Detail("currency", "This store has no running period in that currency")
    )


async def _open_first(connection: AsyncConnection, adjustment: Adjustment) -> None:
    """Open the store's first period in a currency, unless another transaction opens one meanwhile."""
    rules = await load_rules(connection, [adjustment.store_id], since=adjustment.occurred_at)
    store = rules.get(adjustment.store_id)
    chain = {"store_id": adjustment.store_id, "currency": adjustment.currency}
    if store is None or (await connection.execute(_HAS_CHAIN, chain)).scalar_one():
        return  # untested: needs a period that another transaction opens between two statements
    row = open_row(first_period(adjustment.occurred_at, store.rule), store, adjustment.currency)
    await write_open(connection, [row], by=ChangeContext("worker", "reconciliation", adjustment.occurred_at))


async def write_adjustment(connection: AsyncConnection, adjustment: Adjustment) -> str:
    """Write an adjustment as a line of the running period, post it to the ledger, and return its id.

    The id begins with ``adj_``. Raises ``ResourceNotFound`` if the store has no running period in that currency and
    none can be opened.
    """
    running = await _running(connection, adjustment)
    fields = {name: getattr(adjustment, name) for name in Adjustment.__slots__}
    adjustment_id = new_id("adjustment")
    line = {"settlement_id": running["id"], "merchant_id": running["merchant_id"], "entity_id": adjustment_id}
    await connection.execute(_LINE, {**fields, **line, "business_date": running["business_date"]})
    transfer = Transfer(
        JournalKind.ADJUSTMENT,
        source_id=adjustment_id,
        merchant_id=running["merchant_id"],
        store_id=adjustment.store_id,
        provider=adjustment.provider,
        currency=adjustment.currency,
        amount=adjustment.amount,
        occurred_at=adjustment.occurred_at,
        payment_id=adjustment.payment_id,
    )
    await post_transfer(connection, transfer)
    return adjustment_id


_SIDES = """CROSS JOIN LATERAL (VALUES
        ('reference', b.reference, b.fee_difference - b.difference),
        ('other_reference', b.other_reference,
         CAST(b.their_line ->> 'amount' AS bigint) - coalesce(CAST(b.their_line ->> 'fee' AS bigint), 0))
    ) AS side(name, adjustment_id, amount)"""
_TURNED = text(f"""
    -- turned: booked and not found by this run, or reversed and found again. The breaks are locked, because a run of another
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
    -- unlink: breaks that are still found, but are linked to a break that its own settlement's last run did not find
    UPDATE breaks b SET resolution = NULL, note = NULL, reference = NULL, resolved_at = NULL, resolved_by = NULL
    FROM breaks other
    WHERE b.settlement_id = :id AND b.run = :run AND b.resolution = 'link' AND other.id = b.reference
      AND other.run < CASE other.settlement_id WHEN :id THEN :run
          ELSE (SELECT max(number) FROM reconciliation_runs r WHERE r.settlement_id = other.settlement_id) END
""")
_KNOWN_BY_NOW = text("""
    -- known by now: corrections for lines of theirs that matched none of ours when they were booked, and that match a line of
    -- this settlement now
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
    -- link: replace the correction, if it is still the break's last adjustment
    UPDATE breaks SET resolution = 'link', reference = :entity_id,
        note = left(concat_ws(' ', note, 'Reversed, because the sale is now known and has its own line.'), 500)
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
        if (await connection.execute(_LINK, link)).first():  # untested: false if another run has just linked it
            await write_adjustment(connection, _reversal(row, at=at))
    return (await connection.execute(_UNLINK, found)).rowcount


def _reversal(row: Any, *, at: datetime) -> Adjustment:
    names = ("store_id", "currency", "provider", "payment_id", "provider_reference", "our_reference")
    return Adjustment(**{name: row[name] for name in names}, amount=-row["amount"], occurred_at=at)

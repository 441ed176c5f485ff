"""Adjust: a correction becomes a line of the running period, because a closed settlement never changes.

The line and its journal are written in the caller's transaction. The running period is locked, so it cannot be closed
between the two; a close that is under way is waited for, and the line goes into the period after it.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, ResourceNotFound
from workflows.ids import new_id
from workflows.ledger.chart import JournalKind
from workflows.ledger.transfer import Transfer, post_transfer


@dataclass(frozen=True, slots=True)
class Adjustment:
    """``amount`` minor units that ``provider`` owes more (or, negative, less) than was settled.

    It has no method: in a breakdown corrections stand by themselves, as ``other``.
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
    -- running: locked against its close; of a chain that is being closed, the next one
    SELECT id, merchant_id, business_date FROM settlements
    WHERE store_id = :store_id AND currency = :currency AND status = 'open' FOR UPDATE
""")
_LINE = text("""
    INSERT INTO settlement_lines (settlement_id, kind, entity_id, merchant_id, store_id, payment_id, provider,
        provider_reference, our_reference, currency, amount, occurred_at, business_date)
    VALUES (:settlement_id, 'adjustment', :entity_id, :merchant_id, :store_id, :payment_id, :provider,
        :provider_reference, :our_reference, :currency, :amount, :occurred_at, :business_date)
""")


async def write_adjustment(connection: AsyncConnection, adjustment: Adjustment) -> str:
    """Write ``adjustment`` as a line of the running period and post it; returns its id (``adj_…``).

    Raises ``ResourceNotFound`` where the store has no running period in that currency.
    """
    wanted = {"store_id": adjustment.store_id, "currency": adjustment.currency}
    # Whoever waited here for a close finds the period closed (READ COMMITTED looks at the row again), so: twice.
    for _ in range(2):
        running = (await connection.execute(_RUNNING, wanted)).mappings().one_or_none()
        if running:
            break
    else:
        raise ResourceNotFound(Detail("currency", "This store has no running period in that currency"))
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

"""Write a correction as a line of the running period, because a closed settlement never changes.

The line and its journal are written in the caller's transaction. The running period is locked, so it cannot be closed
between the two. If a close is under way, the transaction waits for it, and the line goes into the next period. A store
without a period in the adjustment's currency gets its first one.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, ResourceNotFound
from workflows.ids import new_id
from workflows.ledger.post_journals import JournalKind, Transfer, post_transfer
from workflows.settlements.cutoff_rules import load_rules
from workflows.settlements.periods import first_period
from workflows.settlements.sql import open_row, write_open
from workflows.transitions import ChangeContext


@dataclass(frozen=True, slots=True)
class Adjustment:
    """``amount`` minor units that ``provider`` owes more (or, negative, less) than was settled.

    It has no payment method: the breakdown counts corrections separately, as ``other``.
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
    -- running: locked against its close; if it is being closed, the next one is found by a repeat
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
    """Lock and return the running period; open it if the store has none in the currency.

    Raises ``ResourceNotFound`` if none can be opened.
    """
    wanted = {"store_id": adjustment.store_id, "currency": adjustment.currency}
    # A statement that waited for a close sees the closed period and not the next one, so it is repeated.
    for attempt in range(CLOSES_WAITED_FOR):
        running = (await connection.execute(_RUNNING, wanted)).mappings().one_or_none()
        if running:
            return running
        if attempt == 1:
            await _open_first(connection, adjustment)
    raise ResourceNotFound(Detail("currency", "This store has no running period in that currency"))


async def _open_first(connection: AsyncConnection, adjustment: Adjustment) -> None:
    """Open the store's first period in a currency, unless another transaction opens one meanwhile."""
    rules = await load_rules(connection, [adjustment.store_id], since=adjustment.occurred_at)
    store = rules.get(adjustment.store_id)
    chain = {"store_id": adjustment.store_id, "currency": adjustment.currency}
    if store is None or (await connection.execute(_HAS_CHAIN, chain)).scalar_one():
        return
    row = open_row(first_period(adjustment.occurred_at, store.rule), store, adjustment.currency)
    await write_open(connection, [row], by=ChangeContext("worker", "reconciliation", adjustment.occurred_at))


async def write_adjustment(connection: AsyncConnection, adjustment: Adjustment) -> str:
    """Write an adjustment as a line of the running period, post it and return its id (``adj_…``).

    Raises ``ResourceNotFound`` if the store has no running period in that currency and none can be opened.
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

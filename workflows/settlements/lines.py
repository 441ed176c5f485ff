"""Write the lines of a settlement, and the settlement's id on each payment and refund.

| statement | does                                                                                                |
|-----------|-----------------------------------------------------------------------------------------------------|
| take      | a line for each unsettled payment and refund of the store and currency that was completed before the end |
| mark      | ``settlement_id`` on each of them, locked in the order of their ids, as all other code locks them    |

Both are set-based SQL, so that a million lines never pass through a worker's memory. A line is late if its sale began before
its settlement did, because it was in doubt or being recorded when the previous day was closed. Its business date is that of
the day on which the sale began.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

COLUMNS = """settlement_id, kind, entity_id, merchant_id, store_id, payment_id, provider, provider_reference, our_reference,
    method_type, brand, currency, amount, tip_amount, fee, occurred_at, business_date, is_late"""

_DAY = """
    CASE WHEN e.began >= s.start_at THEN s.business_date ELSE coalesce(
        (SELECT d.business_date FROM settlements d WHERE d.store_id = s.store_id AND d.currency = s.currency
         AND d.start_at <= e.began AND d.end_at > e.began), s.business_date) END AS business_date,
    e.began < s.start_at AS is_late"""

_OPEN = """
    SELECT e.*, least(e.processing_at, e.completed_at) AS began FROM unsettled_{entity}s u JOIN {entity}s e ON e.id = u.id
    WHERE u.store_id = s.store_id AND u.currency = s.currency AND u.completed_at < s.end_at AND e.settlement_id IS NULL"""
"""The unsettled rows of a settlement ``s``, which a narrow table lists (migration 0027).

The list has no index on payments, whose updates would otherwise write to all of their indexes.
"""

WAITING = f"""
    SELECT s.id AS settlement_id, 'payment' AS kind, e.id AS entity_id, e.merchant_id, e.store_id, e.id AS payment_id,
           e.provider, e.provider_reference, e.id || ':' || e.attempts AS our_reference, e.method_type,
           e.card_brand AS brand, e.currency, e.captured_amount AS amount, e.tip_amount, e.fee,
           e.completed_at AS occurred_at, {_DAY}
    FROM settlements s
    CROSS JOIN LATERAL ({_OPEN.format(entity="payment")}) e
    WHERE s.id = ANY(:ids)
    UNION ALL
    SELECT s.id, 'refund', e.id, e.merchant_id, e.store_id, e.payment_id,
           e.provider, coalesce(e.provider_reference, p.provider_reference), e.id || ':' || e.attempts, p.method_type,
           p.card_brand, e.currency, -e.amount, 0, e.fee,
           e.completed_at, {_DAY}
    FROM settlements s
    CROSS JOIN LATERAL ({_OPEN.format(entity="refund")}) e
    JOIN payments p ON p.id = e.payment_id
    WHERE s.id = ANY(:ids)
"""
"""The lines that the settlements ``:ids`` would take if they were closed now.

A refund that was made on the terminal has no provider's reference. It gets the reference of its sale, under which the acquirer
lists it.
"""

_TAKE = text(f"""
    -- take: insert a line for everything that was completed before the settlements' ends
    INSERT INTO settlement_lines ({COLUMNS}) SELECT {COLUMNS} FROM ({WAITING}) AS waiting
""")

_MARK = """
    -- mark: lock the rows in id order, then write them (an UPDATE alone locks in the order of its scan)
    WITH locked AS MATERIALIZED (
        SELECT e.id, l.settlement_id FROM settlement_lines l JOIN {kind}s e ON e.id = l.entity_id
        WHERE l.settlement_id = ANY(:ids) AND l.kind = '{kind}' ORDER BY e.id FOR NO KEY UPDATE OF e
    )
    UPDATE {kind}s e SET settlement_id = locked.settlement_id FROM locked WHERE e.id = locked.id
"""
_MARKS = tuple(text(_MARK.format(kind=kind)) for kind in ("payment", "refund"))


async def take_lines(connection: AsyncConnection, settlement_ids: list[str]) -> None:
    """Write the lines of settlements whose rows this transaction has locked.

    The locks on the settlements keep every other transaction from settling these payments; the payments are not locked.
    """
    await connection.execute(_TAKE, {"ids": settlement_ids})


async def mark_taken(connection: AsyncConnection, settlement_ids: list[str]) -> None:
    """Write the settlement's id on each payment and refund. This is the last step of a close.

    Their rows stay locked until the commit; a refund request for one of the payments waits that long.
    """
    for mark in _MARKS:
        await connection.execute(mark, {"ids": settlement_ids})

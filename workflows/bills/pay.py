"""Pay: payments completed; their reservations become what is paid, and orders whose bills are all paid are paid.

| step   | what                                                                                                   |
|--------|--------------------------------------------------------------------------------------------------------|
| bills  | locked by id; reserved → paid; ``partially_paid``, or ``paid`` with ``paid_at``                           |
| orders | only where a bill became paid: locked by id, last of all; ``open`` → ``paid`` where nothing is owed now    |

Of two parts that are paid at the same moment each looks after it has the order's lock, and so the second sees the first.
An order is paid when all its live bills are paid and together cover its total. A bill is live unless it was voided, or
paid and given back in full: both leave an unbilled amount, and the order stays open until that is billed and paid too.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.balance import count_amount, pay_amount
from workflows.bills.lock import WRITE_AMOUNTS, Share, apply_to_each, lock_bills, write_bills
from workflows.bills.states import LIVE, BillStatus
from workflows.orders.states import OrderEvent, OrderStatus
from workflows.transitions import ChangeContext

_LOCK_ORDERS = text("""
    -- lock: the orders of these bills, by id
    SELECT id FROM orders WHERE status = 'open'
        AND id = ANY(ARRAY(SELECT order_id FROM bill_orders WHERE bill_id = ANY(:bill_ids)))
    ORDER BY id FOR NO KEY UPDATE
""")

_PAY_ORDERS = text(f"""
    -- pay: the locked orders that have nothing owed and nothing unbilled any more
    WITH clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now  -- the statement may have waited for the locks
    ), live AS (
        SELECT bo.order_id, b.id, b.status, b.total_amount FROM bill_orders bo
        -- LATERAL and LIMIT 1 here and below: else a plan that is kept may go through all bills and orders.
        CROSS JOIN LATERAL (SELECT * FROM bills WHERE id = bo.bill_id LIMIT 1) b
        WHERE bo.order_id = ANY(:order_ids) AND {LIVE}
    ), billed AS (
        SELECT order_id, sum(total_amount) AS total, bool_and(status = 'paid') AS is_paid, min(id) AS bill_id
        FROM live GROUP BY order_id
    ), moved AS (
        UPDATE orders o SET status = :target, version = o.version + 1, paid_at = c.now, updated_at = c.now
        FROM billed b, clock c
        WHERE o.id = ANY(:order_ids) AND o.id = b.order_id AND o.status = :source AND b.is_paid
          -- Bills of one order are all for the same orders, so any of them names everybody they have to come to.
          AND b.total = (SELECT sum(t.total_amount) FROM bill_orders x
                         CROSS JOIN LATERAL (SELECT total_amount FROM orders WHERE id = x.order_id LIMIT 1) t
                         WHERE x.bill_id = b.bill_id)
        RETURNING o.*
    ), history AS (
        INSERT INTO order_history (order_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                   caller_type, caller_id, reason, request_id)
        SELECT id, version, merchant_id, store_id, :event, :source, status, paid_at, :caller_type, :caller_id, :reason,
               :request_id
        FROM moved
    )
    SELECT id FROM moved
""")


async def pay(connection: AsyncConnection, shares: Sequence[Share]) -> list[str]:
    """Count these completed payments towards their bills, each exactly once; returns the orders that are paid now.

    Two statements, and two more where a bill became paid. May run as ``mpac_worker``.
    """
    if not shares:
        return []
    bills = await apply_to_each(connection, shares, pay_amount, statement=WRITE_AMOUNTS)
    paid = [bill_id for bill_id, bill in bills.items() if bill.balance.status == BillStatus.PAID]
    return await _pay_orders(connection, paid, by=shares[-1].by) if paid else []


async def pay_after_all(connection: AsyncConnection, shares: Sequence[Share]) -> set[str]:
    """Count payments that hold no reservation any more towards bills that still owe as much.

    Return the ids of those that were counted. Nothing is counted towards a bill that was voided or paid otherwise.
    """
    bills = await lock_bills(connection, (share.bill_id for share in shares))
    counted: set[str] = set()
    for share in shares:
        bill = bills[share.bill_id]
        if share.amount <= bill.balance.available:
            bill.take(count_amount(bill.balance, share.amount), share)
            counted.add(share.cause_id)
    await write_bills(connection, WRITE_AMOUNTS, bills.values())
    paid = [bill_id for bill_id, bill in bills.items() if bill.steps and bill.balance.status == BillStatus.PAID]
    if paid:
        await _pay_orders(connection, paid, by=shares[-1].by)
    return counted


async def _pay_orders(connection: AsyncConnection, bill_ids: Iterable[str], *, by: ChangeContext) -> list[str]:
    locked = await connection.execute(_LOCK_ORDERS, {"bill_ids": list(bill_ids)})
    order_ids = [row.id for row in locked]
    if not order_ids:
        return []
    moved = await connection.execute(
        _PAY_ORDERS,
        {
            "order_ids": order_ids,
            "event": OrderEvent.PAY,
            "source": OrderStatus.OPEN,
            "target": OrderStatus.PAID,
            "caller_type": by.caller_type,
            "caller_id": by.caller_id,
            "reason": by.reason,
            "request_id": by.request_id,
        },
    )
    return [row.id for row in moved]

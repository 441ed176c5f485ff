"""Apply payments and refunds to bills and, if a bill became paid, to its orders.

| verb                          | bills                                                                                |
|-------------------------------|--------------------------------------------------------------------------------------|
| ``reserve``                   | available becomes reserved for a new payment, before any provider is called             |
| ``apply_payments``            | reserved becomes paid; ``partially_paid``, or ``paid`` with ``paid_at``                 |
| ``apply_unreserved_payments`` | the same for payments without a reservation, where the balance still allows it         |
| ``release_reservations``      | reserved becomes available again                                                       |
| ``apply_refunds``             | paid becomes less; a bill that was paid in full only notes the amount as refunded        |

``paid + reserved + amount ≤ total`` is checked under the bill's lock for each new payment in turn: of 200 concurrent payments
for a bill of 20 shares, exactly 20 are accepted.

The bills are locked first, in id order. If a bill became paid, its orders are locked last, also in id order: ``open``
becomes ``paid`` if nothing is owed any more. If two parts are paid concurrently, each checks the order after locking it, so
the second sees the first.

An order is paid when all its live bills are paid and together cover its total. A bill is live unless it was voided, or
paid and refunded in full: both leave an unbilled amount, and the order stays open until that is billed and paid too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.balance import pay_amount, pay_unreserved_amount, refund_amount, release_amount, reserve_amount
from workflows.bills.lock import (
    WRITE_AMOUNTS,
    WRITE_RESERVED,
    BillAmount,
    LockedBill,
    apply_to_bills,
    lock_bills,
    write_bills,
)
from workflows.bills.states import LIVE, BillStatus
from workflows.errors import Detail, DomainError, InvalidRequest, ResourceNotFound
from workflows.orders.states import OrderEvent, OrderStatus
from workflows.transitions import ChangeContext

_LOCK_ORDERS = text("""
    -- lock: the orders of these bills, in id order
    SELECT id FROM orders WHERE status = 'open'
        AND id = ANY(ARRAY(SELECT order_id FROM bill_orders WHERE bill_id = ANY(:bill_ids)))
    ORDER BY id FOR NO KEY UPDATE
""")

_PAY_ORDERS = text(f"""
    -- pay: the locked orders on which nothing is owed and nothing is unbilled any more
    WITH clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now  -- the statement may have waited for the locks
    ), live AS (
        SELECT bo.order_id, b.id, b.status, b.total_amount FROM bill_orders bo
        -- LATERAL and LIMIT 1 here and below: otherwise a cached plan may scan all bills and orders.
        CROSS JOIN LATERAL (SELECT * FROM bills WHERE id = bo.bill_id LIMIT 1) b
        WHERE bo.order_id = ANY(:order_ids) AND {LIVE}
    ), billed AS (
        SELECT order_id, sum(total_amount) AS total, bool_and(status = 'paid') AS is_paid, min(id) AS bill_id
        FROM live GROUP BY order_id
    ), moved AS (
        UPDATE orders o SET status = :target, version = o.version + 1, paid_at = c.now, updated_at = c.now
        FROM billed b, clock c
        WHERE o.id = ANY(:order_ids) AND o.id = b.order_id AND o.status = :source AND b.is_paid
          -- The live bills of an order are all for the same orders, so any of them gives the orders to compare with.
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


async def apply_payments(connection: AsyncConnection, shares: Sequence[BillAmount]) -> list[str]:
    """Count completed payments as paid on their bills, and return the ids of the orders that became paid.

    Each payment must be applied exactly once. Two statements, and two more if a bill became paid. May run as
    ``mpac_worker``.
    """
    if not shares:
        return []
    bills = await apply_to_bills(connection, shares, pay_amount, statement=WRITE_AMOUNTS)
    paid = [bill_id for bill_id, bill in bills.items() if bill.balance.status == BillStatus.PAID]
    return await _pay_orders(connection, paid, by=shares[-1].by) if paid else []


async def apply_unreserved_payments(connection: AsyncConnection, shares: Sequence[BillAmount]) -> set[str]:
    """Count payments whose reservation is gone, on bills that still owe as much.

    Return the ids of the payments that were counted. A payment is not counted on a bill that was voided or paid by others.
    """
    bills = await lock_bills(connection, (share.bill_id for share in shares))
    counted: set[str] = set()
    for share in shares:
        bill = bills[share.bill_id]
        if share.amount <= bill.balance.available:
            bill.take(pay_unreserved_amount(bill.balance, share.amount), share)
            counted.add(share.cause_id)
    await write_bills(connection, WRITE_AMOUNTS, bills.values())
    paid = [bill_id for bill_id, bill in bills.items() if bill.steps and bill.balance.status == BillStatus.PAID]
    if paid:
        await _pay_orders(connection, paid, by=shares[-1].by)
    return counted


async def release_reservations(connection: AsyncConnection, shares: Sequence[BillAmount]) -> None:
    """Release the reservations of payments that ended without moving money, each exactly once.

    Two statements. May run as ``mpac_caller`` (a cancel by the terminal) and as ``mpac_worker``.
    """
    if shares:
        await apply_to_bills(connection, shares, release_amount, statement=WRITE_RESERVED)


async def apply_refunds(connection: AsyncConnection, shares: Sequence[BillAmount]) -> None:
    """Subtract completed refunds from their bills, each exactly once.

    The ``amount`` of a share is ``share_of_refund``. ``partially_paid`` becomes ``unpaid`` at zero; a bill that was paid in
    full stays ``paid`` and notes the refund. Shares of 0 (a refunded tip) change nothing. Two statements. May run as
    ``mpac_worker``.
    """
    towards_bills = [share for share in shares if share.amount]
    if towards_bills:
        await apply_to_bills(connection, towards_bills, refund_amount, statement=WRITE_AMOUNTS)


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


_ORDERS = text("""
    -- orders: of each bill; they never change, so they need no lock
    SELECT bill_id, array_agg(order_id) AS order_ids FROM bill_orders WHERE bill_id = ANY(:ids) GROUP BY bill_id
""")


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation that a new payment requests; ``share.amount`` is without its tip."""

    share: BillAmount
    store_id: str
    currency: str


@dataclass(frozen=True, slots=True)
class ReservationResult:
    """A reservation that was made; ``order_id`` is the bill's order, ``None`` if the bill is for several."""

    order_id: str | None


async def reserve(connection: AsyncConnection, wanted: Sequence[Reservation]) -> list[ReservationResult | DomainError]:
    """Make each reservation that the balances allow, and return the results in sequence. Three statements.

    Errors are returned, not raised, so that one payment of a group does not roll back the others: ``ResourceNotFound``
    (no such bill in this store), ``InvalidRequest`` (another currency), ``InvalidStatusTransition`` (voided),
    ``BalanceUnavailable`` (with the balance). May run as ``mpac_accept``.
    """
    bills = await lock_bills(connection, (each.share.bill_id for each in wanted))
    if not bills:
        return [_unknown_bill_error() for _ in wanted]
    results = [_reserve_one(bills.get(each.share.bill_id), each) for each in wanted]
    await write_bills(connection, WRITE_RESERVED, bills.values())
    found = await connection.execute(_ORDERS, {"ids": list(bills)})
    orders: dict[str, list[str]] = {row.bill_id: row.order_ids for row in found}
    return [
        error or ReservationResult(_single(orders[each.share.bill_id]))
        for each, error in zip(wanted, results, strict=True)
    ]


def _reserve_one(bill: LockedBill | None, wanted: Reservation) -> DomainError | None:
    try:
        if bill is None or bill.row["store_id"] != wanted.store_id:
            return _unknown_bill_error()
        if bill.row["currency"] != wanted.currency:
            return InvalidRequest(Detail("currency", f"Must be {bill.row['currency']}, the bill's currency"))
        bill.take(reserve_amount(bill.balance, wanted.share.amount), wanted.share)
    except DomainError as error:
        return error
    return None


def _unknown_bill_error() -> ResourceNotFound:
    return ResourceNotFound(Detail("bill_id", "There is no such bill in this store"))


def _single(order_ids: list[str]) -> str | None:
    return order_ids[0] if len(order_ids) == 1 else None

"""Apply payments and refunds to bills, and set the orders of fully paid bills to paid.

| function                      | effect on the bill                                                                       |
|-------------------------------|------------------------------------------------------------------------------------------|
| ``reserve``                   | reserve the amount of a new payment, before any provider is called                         |
| ``apply_payments``            | turn reserved into paid; the bill becomes ``partially_paid``, or ``paid`` with ``paid_at`` |
| ``apply_unreserved_payments`` | count payments without a reservation as paid, if the balance still allows it                |
| ``release_reservations``      | make reserved amounts available again                                                      |
| ``apply_refunds``             | subtract from what is paid; on a bill that was paid in full, only add to ``refunded``       |

``paid + reserved + amount ≤ total`` is checked under the bill's lock for each new payment in turn. Of 200 concurrent payments
for a bill of 20 equal parts, exactly 20 are accepted.

The bills are locked first, in id order. If a bill became paid, its orders are locked last, also in id order, and an ``open``
order becomes ``paid`` if nothing is owed on it any more. If two parts are paid concurrently, each transaction checks the order
after locking it, so the second one sees the first.

An order is paid when all its live bills are paid and together cover its total. A bill is live unless it was voided, or paid
and refunded in full. A bill that is not live leaves an unbilled amount, and the order stays open until that amount is billed
and paid too.
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
    ), updated AS (
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
        FROM updated
    )
    SELECT id FROM updated
""")


_ORDERS = text("""
    -- orders: the orders of each bill; a bill's orders never change, so they need no lock
    SELECT bill_id, array_agg(order_id) AS order_ids FROM bill_orders WHERE bill_id = ANY(:ids) GROUP BY bill_id
""")


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation that a new payment requests."""

    bill_amount: BillAmount
    store_id: str
    currency: str


@dataclass(frozen=True, slots=True)
class ReservationResult:
    """The result of a reservation that was made: the bill's order, or ``None`` if the bill is for several orders."""

    order_id: str | None


async def apply_payments(connection: AsyncConnection, bill_amounts: Sequence[BillAmount]) -> list[str]:
    """Count completed payments as paid on their bills, and return the ids of the orders that became paid.

    The caller must apply each payment exactly once. It takes two statements, and two more if a bill became paid. The role
    ``mpac_worker`` has the rights for it.
    """
    if not bill_amounts:
        return []
    bills = await apply_to_bills(connection, bill_amounts, pay_amount, statement=WRITE_AMOUNTS)
    paid = [bill_id for bill_id, bill in bills.items() if bill.balance.status == BillStatus.PAID]
    return await _pay_orders(connection, paid, by=bill_amounts[-1].by) if paid else []


async def apply_unreserved_payments(connection: AsyncConnection, bill_amounts: Sequence[BillAmount]) -> set[str]:
    """Count payments whose reservation was released as paid, on bills that still owe the amount.

    Return the ids of the payments that were counted. A payment is not counted if its bill was voided, or if other payments
    have paid it meanwhile.
    """
    bills = await lock_bills(connection, (bill_amount.bill_id for bill_amount in bill_amounts))
    counted: set[str] = set()
    for bill_amount in bill_amounts:
        bill = bills[bill_amount.bill_id]
        if bill_amount.amount <= bill.balance.available:
            bill.apply_step(pay_unreserved_amount(bill.balance, bill_amount.amount), bill_amount)
            counted.add(bill_amount.cause_id)
    await write_bills(connection, WRITE_AMOUNTS, bills.values())
    paid = [bill_id for bill_id, bill in bills.items() if bill.steps and bill.balance.status == BillStatus.PAID]
    if paid:
        await _pay_orders(connection, paid, by=bill_amounts[-1].by)
    return counted


async def release_reservations(connection: AsyncConnection, bill_amounts: Sequence[BillAmount]) -> None:
    """Release the reservations of payments that ended without moving money.

    The caller must release each reservation exactly once. It takes two statements. The roles ``mpac_caller`` (for a cancel by
    the terminal) and ``mpac_worker`` have the rights for it.
    """
    if bill_amounts:
        await apply_to_bills(connection, bill_amounts, release_amount, statement=WRITE_RESERVED)


async def apply_refunds(connection: AsyncConnection, bill_amounts: Sequence[BillAmount]) -> None:
    """Subtract completed refunds from their bills.

    Each ``amount`` is what ``share_of_refund`` returns. A ``partially_paid`` bill becomes ``unpaid`` at zero. A bill that was
    paid in full stays ``paid`` and adds the amount to ``refunded``. Amounts of 0 (a refunded tip) change nothing. The caller
    must apply each refund exactly once. It takes two statements. The role ``mpac_worker`` has the rights for it.
    """
    towards_bills = [bill_amount for bill_amount in bill_amounts if bill_amount.amount]
    if towards_bills:
        await apply_to_bills(connection, towards_bills, refund_amount, statement=WRITE_AMOUNTS)


async def reserve(
    connection: AsyncConnection, reservations: Sequence[Reservation]
) -> list[ReservationResult | DomainError]:
    """Make each reservation that its bill's balance allows, and return the results in the same order.

    Errors are returned, not raised, so that one payment of a group does not roll back the others: ``ResourceNotFound``
    (no such bill in this store), ``InvalidRequest`` (the bill has another currency), ``InvalidStatusTransition`` (the bill is
    voided), ``BalanceUnavailable`` (with the balance). It takes three statements. The role ``mpac_accept`` has the rights for
    it.
    """
    bills = await lock_bills(connection, (reservation.bill_amount.bill_id for reservation in reservations))
    if not bills:
        return [_unknown_bill_error() for _ in reservations]
    results = [_reserve_one(bills.get(reservation.bill_amount.bill_id), reservation) for reservation in reservations]
    await write_bills(connection, WRITE_RESERVED, bills.values())
    found = await connection.execute(_ORDERS, {"ids": list(bills)})
    orders: dict[str, list[str]] = {row.bill_id: row.order_ids for row in found}
    return [
        error or ReservationResult(_single(orders[reservation.bill_amount.bill_id]))
        for reservation, error in zip(reservations, results, strict=True)
    ]


async def _pay_orders(connection: AsyncConnection, bill_ids: Iterable[str], *, by: ChangeContext) -> list[str]:
    locked = await connection.execute(_LOCK_ORDERS, {"bill_ids": list(bill_ids)})
    order_ids = [row.id for row in locked]
    if not order_ids:  # untested: the orders of a bill are open until it is paid
        return []
    updated = await connection.execute(
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
    return [row.id for row in updated]


def _reserve_one(bill: LockedBill | None, reservation: Reservation) -> DomainError | None:
    try:
        if bill is None or bill.row["store_id"] != reservation.store_id:
            return _unknown_bill_error()
        if bill.row["currency"] != reservation.currency:
            return InvalidRequest(Detail("currency", f"Must be {bill.row['currency']}, the bill's currency"))
        bill.apply_step(reserve_amount(bill.balance, reservation.bill_amount.amount), reservation.bill_amount)
    except DomainError as error:
        return error
    return None


def _unknown_bill_error() -> ResourceNotFound:
    return ResourceNotFound(Detail("bill_id", "There is no such bill in this store"))


def _single(order_ids: list[str]) -> str | None:
    return order_ids[0] if len(order_ids) == 1 else None

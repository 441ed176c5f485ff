"""Lock orders, and check whether their status, version, bills and payments allow a change.

An order's lock is the last lock that a transaction takes (`docs/decisions/0004`). So a transaction that holds it reads bills
and payments without locking them. That is sufficient, because new bills of an order are created under this lock, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import text

from workflows.database.connection import Connection
from workflows.errors import Detail, DuplicateResource, InvalidStatusTransition, ResourceNotFound
from workflows.orders.models import LockedOrder, OrderRow
from workflows.orders.states import ORDER
from workflows.tenants.caller import Caller
from workflows.tenants.scope import IN_SCOPE, scope_params
from workflows.transitions import invalid_transition_error

_LOCK = text(f"SELECT * FROM orders WHERE id = ANY(:ids) AND {IN_SCOPE} ORDER BY id FOR NO KEY UPDATE")
# Not now(): the transaction may have waited for the lock, and times must not decrease from one version to the next.
_CLOCK = text("SELECT clock_timestamp()")
# bills and bill_orders are tables of a higher layer. They are read here, because bills may forbid a change of the order.
_UNVOIDED_BILLS = text("""
    -- unvoided bills: the bills of an order that are not voided
    SELECT b.id, b.status FROM bill_orders bo JOIN bills b ON b.id = bo.bill_id
    WHERE bo.order_id = :order_id AND b.status <> 'voided' ORDER BY b.id
""")
# payments, bill_orders and carried_bills (the payments of archived months) are tables of a higher layer. They are read here,
# because an order with unrefunded payments cannot be cancelled.
_UNREFUNDED = text("""
    -- unrefunded: the number of payments for the bills of this order, voided bills included, that are not refunded in full
    SELECT (SELECT count(*) FROM bill_orders bo JOIN payments p ON p.bill_id = bo.bill_id
            WHERE bo.order_id = :order_id AND p.captured_amount > p.refunded_amount)
         + (SELECT CAST(coalesce(sum(c.unrefunded), 0) AS bigint)
            FROM bill_orders bo JOIN carried_bills c ON c.bill_id = bo.bill_id WHERE bo.order_id = :order_id)
""")
# payments, bill_orders and carried_bills are tables of a higher layer. They are read here, because a refunded order cannot be
# completed.
_ALL_REFUNDED = text("""
    -- refunded: whether payments count towards bills of this order and each of them is, or is being, refunded in full
    SELECT coalesce(bool_and(is_refunded), false) FROM (
        SELECT p.captured_amount = p.refund_reserved AS is_refunded
        FROM bill_orders bo JOIN payments p ON p.bill_id = bo.bill_id
        WHERE bo.order_id = :order_id AND p.captured_amount > 0 AND NOT p.off_bill
        UNION ALL
        SELECT c.counted_unrefunded = 0 FROM bill_orders bo JOIN carried_bills c ON c.bill_id = bo.bill_id
        WHERE bo.order_id = :order_id AND c.counted > 0
    ) AS counted
""")


@dataclass(frozen=True, slots=True)
class UnvoidedBill:
    """A bill of an order that is not voided."""

    id: str
    status: str


async def lock_order(connection: Connection, order_id: str, *, caller: Caller) -> LockedOrder:
    """Lock an order and return its row; ``at`` is the database's time. Raises ``ResourceNotFound``."""
    rows = await lock_orders(connection, [order_id], caller=caller)
    if not rows:
        raise ResourceNotFound()
    return rows[0]


async def lock_orders(connection: Connection, order_ids: Sequence[str], *, caller: Caller) -> list[LockedOrder]:
    """Lock, in id order, the given orders that the caller may see, and return their rows.

    In each row, ``at`` is the database's time after the locks were granted.
    """
    locked = await connection.execute(_LOCK, {"ids": list(order_ids), **scope_params(caller)})
    rows = [dict(row) for row in locked.mappings()]
    at = (await connection.execute(_CLOCK)).scalar_one() if rows else None
    return cast(list[LockedOrder], [{**row, "at": at} for row in rows])


async def unvoided_bills(connection: Connection, order_id: str) -> list[UnvoidedBill]:
    """Return the bills of an order that are not voided."""
    return [
        UnvoidedBill(row["id"], row["status"])
        for row in (await connection.execute(_UNVOIDED_BILLS, {"order_id": order_id})).mappings()
    ]


async def unrefunded_payments(connection: Connection, order_id: str) -> int:
    """Return the number of payments for this order that are not fully refunded."""
    return int((await connection.execute(_UNREFUNDED, {"order_id": order_id})).scalar_one())


async def is_refunded(connection: Connection, order_id: str) -> bool:
    """Return whether the order has payments and each of them was, or is being, refunded in full."""
    return bool((await connection.execute(_ALL_REFUNDED, {"order_id": order_id})).scalar_one())


def blocked_error(order: OrderRow, doing: str, *issues: Detail) -> InvalidStatusTransition:
    """Return the error for a change that the order's status allows but its bills or payments do not.

    ``doing`` is what was requested, as a participle such as "cancelled".
    """
    return InvalidStatusTransition(
        Detail("status", f"The order is {order['status']}"),
        *issues,
        message=f"This order is {order['status']} and cannot be {doing} now",
    )


def check_edge(order: OrderRow, event: str) -> None:
    """Raise ``InvalidStatusTransition`` if the order's status has no edge for ``event``."""
    if ORDER.target(order["status"], event) is None:
        raise invalid_transition_error(ORDER, order["status"], event)


def check_version(order: OrderRow, version: int | None) -> None:
    """Raise ``DuplicateResource`` if the locked order is not in ``version``; ``None`` accepts any version.

    It is a duplicate (409), because the version that would follow ``version`` exists already.
    """
    if version is not None and version != order["version"]:
        raise DuplicateResource(
            Detail("version", f"Must be {order['version']}, the current version; you sent {version}"),
            Detail("current_version", str(order["version"])),
            message="This order was changed by another caller; read it again, then repeat your change",
        )

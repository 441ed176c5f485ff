"""Lock orders, and read what their bills and payments allow.

An order's lock is the last one that a transaction takes (`docs/decisions/0004`): a transaction that holds it waits for no bill
and no payment, and reads them without locking. That is enough, because new bills of an order are created under this lock too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, DuplicateResource, InvalidStatusTransition, ResourceNotFound
from workflows.orders.models import LockedOrder, Order, OrderRow
from workflows.orders.states import ORDER
from workflows.tenants.caller import Caller
from workflows.tenants.scope import visible_to
from workflows.transitions import invalid_transition_error

_CLOCK = text(
    "SELECT clock_timestamp()"
)  # not now(): the lock may have been waited for, and history must be in the order of versions
# bills and bill_orders are tables of a higher layer: whether an order may change depends on its bills, read under its lock.
_UNVOIDED_BILLS = text("""
    -- involved: the bills of an order that are not voided
    SELECT b.id, b.status FROM bill_orders bo JOIN bills b ON b.id = bo.bill_id
    WHERE bo.order_id = :order_id AND b.status <> 'voided' ORDER BY b.id
""")
# payments and bill_orders are tables of a higher layer: an order whose money was taken cannot be cancelled.
_UNREFUNDED = text("""
    -- unrefunded: payments for any bill of this order, voided ones too, that are not refunded in full
    SELECT count(*) FROM bill_orders bo JOIN payments p ON p.bill_id = bo.bill_id
    WHERE bo.order_id = :order_id AND p.captured_amount > p.refunded_amount
""")
# payments and bill_orders are tables of a higher layer: likewise.
_ALL_REFUNDED = text("""
    -- refunded: whether payments count towards bills of this order, and all of them are, or are being, refunded in full
    SELECT coalesce(bool_and(p.captured_amount = p.refund_reserved), false)
    FROM bill_orders bo JOIN payments p ON p.bill_id = bo.bill_id
    WHERE bo.order_id = :order_id AND p.captured_amount > 0 AND NOT p.off_bill
""")


@dataclass(frozen=True, slots=True)
class UnvoidedBill:
    """A bill of an order, except voided ones."""

    id: str
    status: str


async def lock_order(connection: AsyncConnection, order_id: str, *, caller: Caller) -> LockedOrder:
    """Lock an order and return its row, with the database's clock as ``at``. Raises ``ResourceNotFound``."""
    rows = await lock_orders(connection, [order_id], caller=caller)
    if not rows:
        raise ResourceNotFound()
    return rows[0]


async def lock_orders(connection: AsyncConnection, order_ids: Sequence[str], *, caller: Caller) -> list[LockedOrder]:
    """Lock, in id order, the given orders that the caller may see, and return their rows.

    Each row has the database's clock as ``at``.
    """
    conditions = visible_to(caller, Order.merchant_id, Order.store_id)
    locked = (
        select(Order.__table__)
        .where(Order.id.in_(order_ids), *conditions)
        .order_by(Order.id)
        .with_for_update(key_share=True)
    )
    rows = [dict(row) for row in (await connection.execute(locked)).mappings()]
    at = (await connection.execute(_CLOCK)).scalar_one() if rows else None
    return cast(list[LockedOrder], [{**row, "at": at} for row in rows])


async def unvoided_bills(connection: AsyncConnection, order_id: str) -> list[UnvoidedBill]:
    """Return the bills of an order that are not voided."""
    return [
        UnvoidedBill(row.id, row.status) for row in await connection.execute(_UNVOIDED_BILLS, {"order_id": order_id})
    ]


async def unrefunded_payments(connection: AsyncConnection, order_id: str) -> int:
    """Return how many payments for this order are not fully refunded."""
    return int((await connection.execute(_UNREFUNDED, {"order_id": order_id})).scalar_one())


async def is_refunded(connection: AsyncConnection, order_id: str) -> bool:
    """Return whether all payments of this order were refunded in full, or are being refunded."""
    return bool((await connection.execute(_ALL_REFUNDED, {"order_id": order_id})).scalar_one())


def blocked_error(order: OrderRow, doing: str, *why: Detail) -> InvalidStatusTransition:
    """Return the error for a change that the order's status allows but its bills or payments do not.

    ``doing`` is a participle, such as ``cancelled``.
    """
    return InvalidStatusTransition(
        Detail("status", f"The order is {order['status']}"),
        *why,
        message=f"This order is {order['status']} and cannot be {doing} now",
    )


def check_edge(order: OrderRow, event: str) -> None:
    """Raise ``InvalidStatusTransition`` if the order's status has no edge for ``event``."""
    if ORDER.target(order["status"], event) is None:
        raise invalid_transition_error(ORDER, order["status"], event)


def check_version(order: OrderRow, version: int | None) -> None:
    """Raise ``DuplicateResource`` if the locked order is not in ``version``; ``None`` accepts any version.

    409, because each version of an order exists once: the one that would follow ``version`` exists already.
    """
    if version is not None and version != order["version"]:
        raise DuplicateResource(
            Detail("version", f"Must be {order['version']}, the current version; you sent {version}"),
            Detail("current_version", str(order["version"])),
            message="This order was changed by another caller; read it again, then repeat your change",
        )

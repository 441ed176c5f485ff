"""Lock: an order's row for the rest of a transaction, with what its bills and payments say about it.

An order's lock is the last one a transaction takes (`docs/decisions/0004`): whoever holds it waits for no bill and no
payment, and reads those without locking them. That is enough, because a new bill of an order is made under this lock too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, DuplicateResource, InvalidStatusTransition, ResourceNotFound
from workflows.orders.models import Order
from workflows.orders.states import ORDER
from workflows.tenants.caller import Caller
from workflows.tenants.scope import visible_to
from workflows.transitions import invalid_transition

_CLOCK = text("SELECT clock_timestamp()")  # the lock was perhaps waited for, and history is in the order of versions
_INVOLVED = text("""
    -- involved: the bills of an order that are not voided, and how many of its payments are not given back in full
    SELECT b.id, b.status FROM bill_orders bo JOIN bills b ON b.id = bo.bill_id
    WHERE bo.order_id = :order_id AND b.status <> 'voided' ORDER BY b.id
""")
_KEPT = text("""
    -- kept: payments for any bill of this order, voided ones too, of which some money is still ours
    SELECT count(*) FROM bill_orders bo JOIN payments p ON p.bill_id = bo.bill_id
    WHERE bo.order_id = :order_id AND p.captured_amount > p.refunded_amount
""")
_GIVEN_BACK = text("""
    -- given back: whether there are payments that count for a bill of this order, and none that stays with us
    SELECT coalesce(bool_and(p.captured_amount = p.refund_reserved), false)
    FROM bill_orders bo JOIN payments p ON p.bill_id = bo.bill_id
    WHERE bo.order_id = :order_id AND p.captured_amount > 0 AND NOT p.off_bill
""")


@dataclass(frozen=True, slots=True)
class LiveBill:
    """A bill of an order that is not voided."""

    id: str
    status: str


async def lock_order(connection: AsyncConnection, order_id: str, *, caller: Caller) -> dict[str, Any]:
    """The order's row, locked, with the database's clock as ``at``. Raises ``ResourceNotFound``."""
    rows = await lock_orders(connection, [order_id], caller=caller)
    if not rows:
        raise ResourceNotFound()
    return rows[0]


async def lock_orders(connection: AsyncConnection, order_ids: Sequence[str], *, caller: Caller) -> list[dict[str, Any]]:
    """The rows of those of these orders that the caller may see, locked by id, each with the database's clock as ``at``."""
    conditions = visible_to(caller, Order.merchant_id, Order.store_id)
    locked = (
        select(Order.__table__)
        .where(Order.id.in_(order_ids), *conditions)
        .order_by(Order.id)
        .with_for_update(key_share=True)
    )
    rows = [dict(row) for row in (await connection.execute(locked)).mappings()]
    at = (await connection.execute(_CLOCK)).scalar_one() if rows else None
    return [{**row, "at": at} for row in rows]


async def live_bills(connection: AsyncConnection, order_id: str) -> list[LiveBill]:
    """The bills of an order that are not voided."""
    return [LiveBill(row.id, row.status) for row in await connection.execute(_INVOLVED, {"order_id": order_id})]


async def unrefunded_payments(connection: AsyncConnection, order_id: str) -> int:
    """How many payments for this order are not fully refunded."""
    return int((await connection.execute(_KEPT, {"order_id": order_id})).scalar_one())


async def is_refunded(connection: AsyncConnection, order_id: str) -> bool:
    """Return whether all payments of this order were refunded in full, or are being refunded."""
    return bool((await connection.execute(_GIVEN_BACK, {"order_id": order_id})).scalar_one())


def blocked(order: dict[str, Any], doing: str, *why: Detail) -> InvalidStatusTransition:
    """The error for what the order's status would allow but its bills do not: ``doing`` is a participle."""
    return InvalidStatusTransition(
        Detail("status", f"The order is {order['status']}"),
        *why,
        message=f"This order is {order['status']} and cannot be {doing} now",
    )


def check_edge(order: dict[str, Any], event: str) -> None:
    """Raise ``InvalidStatusTransition`` where the order's status has no edge for ``event``."""
    if ORDER.target(order["status"], event) is None:
        raise invalid_transition(ORDER, order["status"], event)


def check_version(order: dict[str, Any], version: int | None) -> None:
    """Raise ``DuplicateResource`` if the locked order is no longer in ``version``; ``None`` accepts any version.

    Each version of an order is made once: the version that would follow ``version`` exists already.
    """
    if version is not None and version != order["version"]:
        raise DuplicateResource(
            Detail("version", f"Must be {order['version']}, the current version; you sent {version}"),
            Detail("current_version", str(order["version"])),
            message="This order was changed by another caller; read it again, then repeat your change",
        )

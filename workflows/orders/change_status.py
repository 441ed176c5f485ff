"""Submit, complete and cancel an order.

| verb     | from        | condition                                                                                     |
|----------|-------------|-----------------------------------------------------------------------------------------------|
| submit   | draft       | the total is above 0; the order can be billed from then on                                     |
| complete | paid        | some payment is neither refunded in full nor being refunded: otherwise the order is not paid for |
| cancel   | draft, open | no bill of the order awaits payment (void it first), and every payment is refunded in full       |
| cancel   | paid        | the same; all its bills are paid, so only the refunds count                                     |

All three lock the order, compare the version that the caller read, and check the edge. Cancel has one condition for all
statuses, because a bill that was paid and then refunded stays ``paid`` permanently and must not hold its order open.
"""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidRequest
from workflows.orders.lock import (
    blocked,
    check_edge,
    check_version,
    is_refunded,
    live_bills,
    lock_order,
    unrefunded_payments,
)
from workflows.orders.queries import whole_order
from workflows.orders.rows import LockedOrder
from workflows.orders.states import ORDER, OrderEvent
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply

AWAITING_PAYMENT = frozenset({"unpaid", "partially_paid"})
"""The statuses of a bill on which something is owed (``workflows.bills`` is above orders, so they are spelled out here)."""


async def submit_order(order_id: str, *, caller: Caller, request_id: str, version: int | None = None) -> dict[str, Any]:
    """Submit an order and return its row.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``,
    ``InvalidRequest`` (its total is 0).
    """
    async with caller_transaction(caller) as connection:
        order = await _lock(connection, order_id, OrderEvent.SUBMIT, version, caller=caller)
        if order["total_amount"] == 0:
            raise InvalidRequest(Detail("items", "Must add up to more than 0 before the order can be submitted"))
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id)
        return await _apply(connection, order_id, OrderEvent.SUBMIT, stamp="submitted_at", by=by)


async def complete_order(
    order_id: str, *, caller: Caller, request_id: str, version: int | None = None
) -> dict[str, Any]:
    """Complete an order that was fulfilled and return its row.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``.
    """
    async with caller_transaction(caller) as connection:
        order = await _lock(connection, order_id, OrderEvent.FULFIL, version, caller=caller)
        if await is_refunded(connection, order_id):
            why = Detail("payments", "All payments of this order were refunded or are being refunded; cancel the order")
            raise blocked(order, "completed", why)
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id)
        return await _apply(connection, order_id, OrderEvent.FULFIL, stamp="completed_at", by=by)


async def cancel_order(
    order_id: str, *, caller: Caller, request_id: str, reason: str | None = None, version: int | None = None
) -> dict[str, Any]:
    """Cancel an order and return its row.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``.
    """
    async with caller_transaction(caller) as connection:
        order = await _lock(connection, order_id, OrderEvent.CANCEL, version, caller=caller)
        obstacles = await _obstacles_to_cancel(connection, order_id)
        if obstacles:
            raise blocked(order, "cancelled", *obstacles)
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id, reason=reason)
        return await _apply(connection, order_id, OrderEvent.CANCEL, stamp="cancelled_at", by=by)


async def _lock(
    connection: AsyncConnection, order_id: str, event: OrderEvent, version: int | None, *, caller: Caller
) -> LockedOrder:
    order = await lock_order(connection, order_id, caller=caller)
    check_version(order, version)
    check_edge(order, event)
    return order


async def _apply(
    connection: AsyncConnection, order_id: str, event: OrderEvent, *, stamp: str, by: ChangeContext
) -> dict[str, Any]:
    changes = {stamp: by.at, "updated_at": by.at}
    row = await apply(connection, ORDER, entity_id=order_id, event=event, by=by, changes=changes)
    return await whole_order(connection, row)


async def _obstacles_to_cancel(connection: AsyncConnection, order_id: str) -> list[Detail]:
    obstacles = [
        Detail("bill_ids", f"Bill {bill.id} is {bill.status}: void it first")
        for bill in await live_bills(connection, order_id)
        if bill.status in AWAITING_PAYMENT
    ]
    unrefunded = await unrefunded_payments(connection, order_id)
    if unrefunded:
        obstacles.append(Detail("payments", f"{unrefunded} of its payments are not fully refunded"))
    return obstacles

"""Complete: a paid order was fulfilled; it is closed.

An order that was refunded in full, or is being refunded in full, cannot be completed: it is not paid for.
"""

from typing import Any

from workflows.errors import Detail
from workflows.orders.lock import blocked, check_edge, check_version, is_given_back, lock_order
from workflows.orders.queries import whole_order
from workflows.orders.states import ORDER, OrderEvent
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply


async def complete_order(
    order_id: str, *, caller: Caller, request_id: str, version: int | None = None
) -> dict[str, Any]:
    """Complete an order and return its row.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``.
    """
    async with caller_transaction(caller) as connection:
        order = await lock_order(connection, order_id, caller=caller)
        check_version(order, version)
        check_edge(order, OrderEvent.FULFIL)
        if await is_given_back(connection, order_id):
            why = Detail("payments", "All payments of this order were refunded or are being refunded; cancel the order")
            raise blocked(order, "completed", why)
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id)
        changes = {"completed_at": by.at, "updated_at": by.at}
        row = await apply(connection, ORDER, entity_id=order_id, event=OrderEvent.FULFIL, by=by, changes=changes)
        return await whole_order(connection, row)

"""Complete: a paid order was fulfilled; it is closed."""

from typing import Any

from workflows.orders.lock import lock_order
from workflows.orders.queries import whole_order
from workflows.orders.states import ORDER, OrderEvent
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import By, apply


async def complete_order(order_id: str, *, caller: Caller, request_id: str) -> dict[str, Any]:
    """The order, ``completed``. Raises ``ResourceNotFound``, ``InvalidStatusTransition``."""
    async with caller_transaction(caller) as connection:
        order = await lock_order(connection, order_id, caller=caller)
        by = By.caller(caller, at=order["at"], request_id=request_id)
        changes = {"completed_at": by.at, "updated_at": by.at}
        row = await apply(connection, ORDER, entity_id=order_id, event=OrderEvent.FULFIL, by=by, changes=changes)
        return await whole_order(connection, row)

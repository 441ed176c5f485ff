"""Submit: a draft becomes open; from now on it can be billed."""

from typing import Any

from workflows.errors import Detail, InvalidRequest
from workflows.orders.lock import check_edge, check_version, lock_order
from workflows.orders.queries import whole_order
from workflows.orders.states import ORDER, OrderEvent
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply


async def submit_order(order_id: str, *, caller: Caller, request_id: str, version: int | None = None) -> dict[str, Any]:
    """Submit an order and return its row.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``,
    ``InvalidRequest`` (its total is 0).
    """
    async with caller_transaction(caller) as connection:
        order = await lock_order(connection, order_id, caller=caller)
        check_version(order, version)
        check_edge(order, OrderEvent.SUBMIT)
        if order["total_amount"] == 0:
            raise InvalidRequest(Detail("items", "Must come to more than 0 before the order can be submitted"))
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id)
        changes = {"submitted_at": by.at, "updated_at": by.at}
        row = await apply(connection, ORDER, entity_id=order_id, event=OrderEvent.SUBMIT, by=by, changes=changes)
        return await whole_order(connection, row)

"""Cancel: an order is withdrawn, once nobody owes anything for it and nothing that was paid for it is kept.

| status      | cancelled where                                                                               |
|-------------|-----------------------------------------------------------------------------------------------|
| draft, open | no bill of it awaits payment (void it first), and every payment for it was given back in full   |
| paid        | the same; all its bills are paid, so what counts is that every payment was given back in full    |
| the others  | never                                                                                           |

One condition for all: a bill that was paid and then given back stays ``paid`` for ever, and must not hold its order open.
"""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail
from workflows.orders.lock import blocked, check_edge, check_version, live_bills, lock_order, payments_kept
from workflows.orders.queries import whole_order
from workflows.orders.states import ORDER, OrderEvent
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply

AWAITING_PAYMENT = frozenset({"unpaid", "partially_paid"})
"""The statuses of a bill on which something is owed (`workflows.bills` is above orders, so they are spelled out here)."""


async def cancel_order(
    order_id: str, *, caller: Caller, request_id: str, reason: str | None = None, version: int | None = None
) -> dict[str, Any]:
    """Cancel an order and return its row.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``.
    """
    async with caller_transaction(caller) as connection:
        order = await lock_order(connection, order_id, caller=caller)
        check_version(order, version)
        check_edge(order, OrderEvent.CANCEL)
        why = await _what_speaks_against(connection, order_id)
        if why:
            raise blocked(order, "cancelled", *why)
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id, reason=reason)
        changes = {"cancelled_at": by.at, "updated_at": by.at}
        row = await apply(connection, ORDER, entity_id=order_id, event=OrderEvent.CANCEL, by=by, changes=changes)
        return await whole_order(connection, row)


async def _what_speaks_against(connection: AsyncConnection, order_id: str) -> list[Detail]:
    why = [
        Detail("bill_ids", f"Bill {bill.id} is {bill.status}: void it first")
        for bill in await live_bills(connection, order_id)
        if bill.status in AWAITING_PAYMENT
    ]
    kept = await payments_kept(connection, order_id)
    if kept:
        why.append(Detail("payments", f"{kept} of its payments are not fully refunded"))
    return why

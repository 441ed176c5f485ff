"""Change, submit, complete and cancel an order.

| verb     | from        | condition                                                                                     |
|----------|-------------|-----------------------------------------------------------------------------------------------|
| change   | draft, open | every bill of the order is voided                                                             |
| submit   | draft       | the total is above 0                                                                          |
| complete | paid        | some payment is neither refunded in full nor being refunded                                   |
| cancel   | draft, open | no bill of the order awaits payment (void it first), and every payment is refunded in full    |
| cancel   | paid        | the same; all bills of a paid order are paid, so only the refunds matter                      |

All four lock the order, compare the version that the caller read, and check the status. A submitted order can be billed.

A change may set the items, the discount, the table number and the order type. Items are replaced as a whole and get new ids,
and the totals are computed again. Two terminals that both read version 1 and send their items would overwrite each other's
change, so a change of items must name the version that was read.

Cancel has one condition for all statuses. A bill that was paid and then refunded stays ``paid`` permanently, and must not
keep its order from being cancelled.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidRequest
from workflows.orders.lock import (
    blocked_error,
    check_edge,
    check_version,
    is_refunded,
    lock_order,
    unrefunded_payments,
    unvoided_bills,
)
from workflows.orders.models import LockedOrder, OrderRow
from workflows.orders.queries import lines_of, order_with_items, read_items
from workflows.orders.states import ORDER, OrderEvent, OrderRemark, OrderStatus
from workflows.orders.totals import OrderLine, TaxRounding, compute_totals
from workflows.orders.write_orders import item_rows, replace_items
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply, invalid_transition_error

CHANGEABLE = frozenset({OrderStatus.DRAFT, OrderStatus.OPEN})


@dataclass(frozen=True, slots=True)
class OrderChange:
    """A requested change of an order. ``None`` leaves the items or the discount unchanged.

    ``particulars`` are the new values of other columns. ``version`` is the version that the order must have; ``None`` accepts
    any version.
    """

    lines: tuple[OrderLine, ...] | None
    discount_amount: int | None
    particulars: dict[str, Any]
    version: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the request changes nothing."""
        return self.lines is None and self.discount_amount is None and not self.particulars


AWAITING_PAYMENT = frozenset({"unpaid", "partially_paid"})
"""The statuses of a bill that is not fully paid.

They are spelled out, because ``workflows.bills`` is a higher layer than orders.
"""


async def change_order(
    order_id: str, change: OrderChange, *, rounding: TaxRounding, caller: Caller, request_id: str
) -> dict[str, Any]:
    """Change an order and return its row with its items and bill ids.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``, ``InvalidRequest``
    (the discount or the total is out of range).
    """
    async with caller_transaction(caller) as connection:
        order = await lock_order(connection, order_id, caller=caller)
        check_version(order, change.version)
        if order["status"] not in CHANGEABLE:
            raise invalid_transition_error(ORDER, order["status"], OrderRemark.CHANGE)
        bills = await unvoided_bills(connection, order_id)
        if bills:
            issues = [
                Detail("bill_ids", f"Bill {bill.id} is {bill.status}; only voided bills may exist") for bill in bills
            ]
            raise blocked_error(order, "changed", *issues)
        if change.is_empty:
            return await order_with_items(connection, order)
        amounts = await _amounts(connection, order, change, rounding=rounding)
        if change.lines is not None:
            await replace_items(connection, order_id, item_rows(order, change.lines))
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id)
        changes = {**change.particulars, **amounts, "updated_at": by.at}
        row = await apply(connection, ORDER, entity_id=order_id, event=OrderRemark.CHANGE, by=by, changes=changes)
        return await order_with_items(connection, row)


async def submit_order(order_id: str, *, caller: Caller, request_id: str, version: int | None = None) -> dict[str, Any]:
    """Submit an order and return its row with its items and bill ids.

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
    """Complete an order that was fulfilled, and return its row with its items and bill ids.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``.
    """
    async with caller_transaction(caller) as connection:
        order = await _lock(connection, order_id, OrderEvent.FULFIL, version, caller=caller)
        if await is_refunded(connection, order_id):
            issue = Detail(
                "payments", "All payments of this order were refunded or are being refunded; cancel the order"
            )
            raise blocked_error(order, "completed", issue)
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id)
        return await _apply(connection, order_id, OrderEvent.FULFIL, stamp="completed_at", by=by)


async def cancel_order(
    order_id: str, *, caller: Caller, request_id: str, reason: str | None = None, version: int | None = None
) -> dict[str, Any]:
    """Cancel an order and return its row with its items and bill ids.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``.
    """
    async with caller_transaction(caller) as connection:
        order = await _lock(connection, order_id, OrderEvent.CANCEL, version, caller=caller)
        obstacles = await _obstacles_to_cancel(connection, order_id)
        if obstacles:
            raise blocked_error(order, "cancelled", *obstacles)
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id, reason=reason)
        return await _apply(connection, order_id, OrderEvent.CANCEL, stamp="cancelled_at", by=by)


async def _amounts(
    connection: AsyncConnection, order: OrderRow, change: OrderChange, *, rounding: TaxRounding
) -> dict[str, int]:
    if change.lines is None and change.discount_amount is None:
        return {}
    lines = change.lines
    if lines is None:
        lines = tuple(lines_of((await read_items(connection, [order["id"]]))[order["id"]]))
    discount = order["discount_amount"] if change.discount_amount is None else change.discount_amount
    totals = compute_totals(lines, discount_amount=discount, currency=order["currency"], rounding=rounding)
    if totals.total_amount == 0 and order["status"] != OrderStatus.DRAFT:
        raise InvalidRequest(Detail("items", "Must add up to more than 0: this order is open"))
    return {
        "subtotal": totals.subtotal,
        "tax_amount": totals.tax_amount,
        "discount_amount": totals.discount_amount,
        "total_amount": totals.total_amount,
    }


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
    return await order_with_items(connection, row)


async def _obstacles_to_cancel(connection: AsyncConnection, order_id: str) -> list[Detail]:
    obstacles = [
        Detail("bill_ids", f"Bill {bill.id} is {bill.status}: void it first")
        for bill in await unvoided_bills(connection, order_id)
        if bill.status in AWAITING_PAYMENT
    ]
    unrefunded = await unrefunded_payments(connection, order_id)
    if unrefunded:
        obstacles.append(Detail("payments", f"{unrefunded} of its payments are not fully refunded"))
    return obstacles

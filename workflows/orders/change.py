"""Change the items, the discount or the particulars of an order that has no bill yet.

| field                          | may change while the order is                                |
|--------------------------------|--------------------------------------------------------------|
| items, discount                | draft or open, without bills except voided ones               |
| table number, kind of order    | the same                                                      |

Items are replaced as a whole and get new ids, and the totals are computed again. Two tills that both read version 1 and send
their items would overwrite each other's change, so a change of items must name the version that was read.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidRequest
from workflows.orders.items import item_rows, lines_of, read_items, replace_items
from workflows.orders.lock import blocked, check_version, live_bills, lock_order
from workflows.orders.queries import whole_order
from workflows.orders.rows import OrderRow
from workflows.orders.states import ORDER, OrderRemark, OrderStatus
from workflows.orders.totals import OrderLine, TaxRounding, compute_totals
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply, invalid_transition

CHANGEABLE = frozenset({OrderStatus.DRAFT, OrderStatus.OPEN})


@dataclass(frozen=True, slots=True)
class OrderChange:
    """A change of an order; ``None`` leaves the items or the discount unchanged.

    ``particulars`` are new values of columns. ``version`` is the version that the order must have; ``None`` accepts any.
    """

    lines: tuple[OrderLine, ...] | None
    discount_amount: int | None
    particulars: dict[str, Any]
    version: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the request changes nothing."""
        return self.lines is None and self.discount_amount is None and not self.particulars


async def change_order(
    order_id: str, change: OrderChange, *, rounding: TaxRounding, caller: Caller, request_id: str
) -> dict[str, Any]:
    """Change an order and return its row.

    Raises ``ResourceNotFound``, ``DuplicateResource`` (stale version), ``InvalidStatusTransition``, ``InvalidRequest``
    (totals).
    """
    async with caller_transaction(caller) as connection:
        order = await lock_order(connection, order_id, caller=caller)
        check_version(order, change.version)
        if order["status"] not in CHANGEABLE:
            raise invalid_transition(ORDER, order["status"], OrderRemark.CHANGE)
        bills = await live_bills(connection, order_id)
        if bills:
            why = [
                Detail("bill_ids", f"Bill {bill.id} is {bill.status}; only voided bills may exist") for bill in bills
            ]
            raise blocked(order, "changed", *why)
        if change.is_empty:
            return await whole_order(connection, order)
        amounts = await _amounts(connection, order, change, rounding=rounding)
        if change.lines is not None:
            await replace_items(connection, order_id, item_rows(order, change.lines))
        by = ChangeContext.caller(caller, at=order["at"], request_id=request_id)
        changes = {**change.particulars, **amounts, "updated_at": by.at}
        row = await apply(connection, ORDER, entity_id=order_id, event=OrderRemark.CHANGE, by=by, changes=changes)
        return await whole_order(connection, row)


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

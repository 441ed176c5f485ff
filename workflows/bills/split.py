"""Split a bill on which nothing is paid or reserved: replace it by its parts.

| phase | what                                                                                             |
|-------|--------------------------------------------------------------------------------------------------|
| lock  | lock the bill                                                                                     |
| known | return the answer if one is stored for the key                                                     |
| check | nothing is paid or reserved on the bill                                                            |
| write | void the bill (reason: split), issue its parts for the same orders, store the answer for the key    |

The original is voided rather than preserved as a container. So it cannot be paid in addition to its parts, a payment of one
part never locks the original, and it can always be verified that the parts sum to it. A part is an ordinary bill and may be
split again.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.issue import issue_bills
from workflows.bills.parts import Part, equal_parts, parts_of_amounts, parts_of_items
from workflows.bills.rows import BillRow
from workflows.bills.serialize import bill_fields
from workflows.bills.states import BILL, BillEvent
from workflows.bills.void import check_untouched, lock_bill
from workflows.database.row_json import render
from workflows.errors import Detail, InvalidRequest
from workflows.requests.idempotency import Key, Stored, known_answer, store_answer
from workflows.tenants.caller import Caller, caller_transaction
from workflows.transitions import ChangeContext, apply

_ORDERS = text("SELECT order_id FROM bill_orders WHERE bill_id = :bill_id ORDER BY order_id")
_ITEMS = text("SELECT id, subtotal, tax_rate FROM order_items WHERE id = ANY(:ids)")
REASON = "split"


@dataclass(frozen=True, slots=True)
class Splitting:
    """The requested split; exactly one of the three is given."""

    parts: int | None = None
    amounts: tuple[int, ...] | None = None
    items: tuple[tuple[str, ...], ...] | None = None


async def split_bill(bill_id: str, splitting: Splitting, *, caller: Caller, key: Key, request_id: str) -> Stored:
    """Split a bill and return its parts, or return the answer stored for the key.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (something paid or reserved, or voided), ``InvalidRequest`` (the
    parts do not add up to the bill, or one is 0), ``IdempotencyKeyReused``, ``NotAuthorized``, ``ServiceUnavailable``.
    """
    async with caller_transaction(caller) as connection:
        bill = await lock_bill(connection, bill_id, caller=caller)
        known = await known_answer(connection, bill["merchant_id"], key)
        if known:
            return known
        check_untouched(bill, "be split")
        parts = await _parts(connection, bill, splitting)
        by = ChangeContext.caller(caller, at=bill["at"], request_id=request_id, reason=REASON)
        changes = {"voided_at": by.at, "updated_at": by.at}
        await apply(connection, BILL, entity_id=bill_id, event=BillEvent.VOID, by=by, changes=changes)
        order_ids = [row.order_id for row in await connection.execute(_ORDERS, {"bill_id": bill_id})]
        issued = await issue_bills(connection, bill, parts, order_ids=order_ids, parent_bill_id=bill_id, by=by)
        body = render({"data": [bill_fields(row) for row in issued]})
        stored = Stored(201, body, resource_id=bill_id, is_replay=False)
        await store_answer(connection, bill["merchant_id"], key, stored)
    return stored


async def _parts(connection: AsyncConnection, bill: BillRow, splitting: Splitting) -> list[Part]:
    if splitting.parts is not None:
        return equal_parts(bill, splitting.parts)
    if splitting.amounts is not None:
        return parts_of_amounts(bill, splitting.amounts)
    if bill["item_ids"] is None:
        raise InvalidRequest(Detail("items", "This bill is not for whole items; split it by parts or amounts"))
    found = await connection.execute(_ITEMS, {"ids": bill["item_ids"]})
    items = {row["id"]: dict(row) for row in found.mappings()}
    return parts_of_items(bill, splitting.items or (), items)

"""Void or split a bill on which nothing is paid or reserved.

Voiding withdraws the bill. Splitting replaces it by parts:

| phase | what                                                                                             |
|-------|--------------------------------------------------------------------------------------------------|
| lock  | lock the bill                                                                                     |
| known | return the answer if one is stored for the key                                                     |
| check | check that nothing is paid or reserved on the bill                                                 |
| write | void the bill (reason: split), issue its parts for the same orders, store the answer for the key    |

The original is voided rather than preserved as a container. So it cannot be paid in addition to its parts, and a payment of a
part never locks it. The voided bill keeps its amounts, so it can always be verified that the parts add up to it. A part is an
ordinary bill and may be split again.
"""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import text

from workflows.bills.balance import balance_of
from workflows.bills.create import issue_bills
from workflows.bills.models import BillRow, BillWithOrders, LockedBillRow
from workflows.bills.queries import bill_fields, bill_with_orders
from workflows.bills.split_amounts import BillPart, equal_parts, parts_of_amounts, parts_of_items
from workflows.bills.states import BILL, BillEvent, BillStatus
from workflows.database.connection import Connection
from workflows.database.json_rendering import render
from workflows.errors import Detail, InvalidRequest, InvalidStatusTransition
from workflows.requests.idempotency import Key, StoredAnswer, known_answer, store_answer
from workflows.tenants.caller import Caller, caller_transaction, hot_caller_transaction
from workflows.tenants.query_helpers import one_text_row
from workflows.tenants.scope import IN_SCOPE, scope_params
from workflows.transitions import ChangeContext, apply

_LOCK = text(f"SELECT * FROM bills WHERE id = :id AND {IN_SCOPE} FOR NO KEY UPDATE")
# Not now(): the transaction may have waited for the lock, and times must not decrease from one version to the next.
_CLOCK = text("SELECT clock_timestamp()")


_ORDERS = text("SELECT order_id FROM bill_orders WHERE bill_id = :bill_id ORDER BY order_id")
_ITEMS = text("SELECT id, subtotal, tax_rate FROM order_items WHERE id = ANY(:ids)")
REASON = "split"


@dataclass(frozen=True, slots=True)
class BillSplit:
    """The requested split, of which exactly one field is set.

    ``parts`` is the number of equal parts, ``amounts`` the total of each part, ``items`` the item ids of each part.
    """

    parts: int | None = None
    amounts: tuple[int, ...] | None = None
    items: tuple[tuple[str, ...], ...] | None = None


async def void_bill(bill_id: str, *, caller: Caller, request_id: str, reason: str | None = None) -> BillWithOrders:
    """Void a bill and return its row with its ``order_ids``.

    Raises ``ResourceNotFound``, and ``InvalidStatusTransition`` if an amount is paid or reserved, or the bill is voided.
    """
    async with caller_transaction(caller) as connection:
        bill = await lock_bill(connection, bill_id, caller=caller)
        check_untouched(bill, "be voided")
        by = ChangeContext.caller(caller, at=bill["at"], request_id=request_id, reason=reason)
        changes = {"voided_at": by.at, "updated_at": by.at}
        row = await apply(connection, BILL, entity_id=bill_id, event=BillEvent.VOID, by=by, changes=changes)
        return await bill_with_orders(connection, row)


async def lock_bill(connection: Connection, bill_id: str, *, caller: Caller) -> LockedBillRow:
    """Lock a bill and return its row; ``at`` is the database's time. Raises ``ResourceNotFound``."""
    row = await one_text_row(connection, _LOCK, {"id": bill_id, **scope_params(caller)})
    return cast(LockedBillRow, {**row, "at": (await connection.execute(_CLOCK)).scalar_one()})


def check_untouched(bill: BillRow, doing: str) -> None:
    """Raise ``InvalidStatusTransition`` if an amount is paid or reserved on the bill, or if it is voided.

    ``doing`` is what was requested, such as "be voided".
    """
    if bill["status"] == BillStatus.UNPAID and not balance_of(bill).is_touched:
        return
    possible = ", ".join(BILL.possible(bill["status"])) or "nothing, this status is final"
    raise InvalidStatusTransition(
        Detail("status", f"The bill is {bill['status']}; possible: {possible}"),
        Detail("paid_amount", str(bill["paid_amount"])),
        Detail("reserved_amount", str(bill["reserved_amount"])),
        message=f"This bill is {bill['status']} with {bill['paid_amount']} paid and {bill['reserved_amount']} reserved; "
        f"it cannot {doing}",
    )


async def split_bill(bill_id: str, split: BillSplit, *, caller: Caller, key: Key, request_id: str) -> StoredAnswer:
    """Split a bill and return its parts, or return the answer stored for the key.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (an amount is paid or reserved, or the bill is voided),
    ``InvalidRequest`` (the parts do not add up to the bill, or a part is 0), ``IdempotencyKeyReused``, ``NotAuthorized``,
    ``ServiceUnavailable``.
    """
    async with hot_caller_transaction(caller) as connection:
        bill = await lock_bill(connection, bill_id, caller=caller)
        known = await known_answer(connection, bill["merchant_id"], key)
        if known:
            return known
        check_untouched(bill, "be split")
        parts = await _divide(connection, bill, split)
        by = ChangeContext.caller(caller, at=bill["at"], request_id=request_id, reason=REASON)
        changes = {"voided_at": by.at, "updated_at": by.at}
        await apply(connection, BILL, entity_id=bill_id, event=BillEvent.VOID, by=by, changes=changes)
        found = await connection.execute(_ORDERS, {"bill_id": bill_id})
        order_ids = [row["order_id"] for row in found.mappings()]
        issued = await issue_bills(connection, bill, parts, order_ids=order_ids, parent_bill_id=bill_id, by=by)
        body = render({"data": [bill_fields(row) for row in issued]})
        stored = StoredAnswer(201, body, resource_id=bill_id, is_replay=False)
        await store_answer(connection, bill["merchant_id"], key, stored)
    return stored


async def _divide(connection: Connection, bill: BillRow, split: BillSplit) -> list[BillPart]:
    if split.parts is not None:
        return equal_parts(bill, split.parts)
    if split.amounts is not None:
        return parts_of_amounts(bill, split.amounts)
    if bill["item_ids"] is None:
        raise InvalidRequest(Detail("items", "This bill is not for whole items; split it by parts or amounts"))
    found = await connection.execute(_ITEMS, {"ids": bill["item_ids"]})
    items = {row["id"]: dict(row) for row in found.mappings()}
    return parts_of_items(bill, split.items or (), items)

"""Void a bill on which nothing is paid or reserved; its amounts can be billed again."""

from typing import Any, cast

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.balance import balance_of
from workflows.bills.models import Bill
from workflows.bills.queries import whole_bill
from workflows.bills.rows import BillRow, LockedBillRow
from workflows.bills.states import BILL, BillEvent, BillStatus
from workflows.errors import Detail, InvalidStatusTransition
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import one_row
from workflows.tenants.scope import visible_to
from workflows.transitions import ChangeContext, apply

_CLOCK = text(
    "SELECT clock_timestamp()"
)  # not now(): the lock may have been waited for, and history must be in the order of versions


async def void_bill(bill_id: str, *, caller: Caller, request_id: str, reason: str | None = None) -> dict[str, Any]:
    """Void a bill and return its row. Raises ``ResourceNotFound``, ``InvalidStatusTransition``."""
    async with caller_transaction(caller) as connection:
        bill = await lock_bill(connection, bill_id, caller=caller)
        check_untouched(bill, "be voided")
        by = ChangeContext.caller(caller, at=bill["at"], request_id=request_id, reason=reason)
        changes = {"voided_at": by.at, "updated_at": by.at}
        row = await apply(connection, BILL, entity_id=bill_id, event=BillEvent.VOID, by=by, changes=changes)
        return await whole_bill(connection, row)


async def lock_bill(connection: AsyncConnection, bill_id: str, *, caller: Caller) -> LockedBillRow:
    """Lock a bill and return its row, with the database's clock as ``at``. Raises ``ResourceNotFound``."""
    conditions = visible_to(caller, Bill.merchant_id, Bill.store_id)
    locked = select(Bill.__table__).where(Bill.id == bill_id, *conditions).with_for_update(key_share=True)
    row = await one_row(connection, locked)
    return cast(LockedBillRow, {**row, "at": (await connection.execute(_CLOCK)).scalar_one()})


def check_untouched(bill: BillRow, doing: str) -> None:
    """Raise ``InvalidStatusTransition`` if anything is paid or reserved on the bill, or if it is voided."""
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

"""Store the terminal's report of a refund that a person carried out.

Refunds of cash and of the terminal's own card sales are carried out by a person. Until the terminal reports the result, such a
refund is ``pending`` with ``needs_action``. The report is stored with the refund and a worker records it, as it records a
terminal's report of a payment.

| the refund                  | the report                                                                   |
|-----------------------------|------------------------------------------------------------------------------|
| needs action                | is stored; ``approved`` will complete the refund, ``declined`` fail it       |
| already has the same report | changes nothing: a terminal repeats a report whose answer it did not receive |
| anything else               | is refused: a different report could mean that money was refunded twice      |
"""

from typing import cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.json_rendering import render
from workflows.errors import Detail, InvalidStatusTransition
from workflows.refunds.models import RefundRow
from workflows.refunds.states import REFUND, RefundRemark
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.query_helpers import one_row
from workflows.tenants.scope import IN_SCOPE, scope_params
from workflows.transitions import ChangeContext, apply

Report = dict[str, str]
"""The terminal's report: ``result`` (approved or declined) and, if known, the approval code, slip number and ARN."""

_PAYMENT = text(f"SELECT payment_id FROM refunds WHERE id = :id AND {IN_SCOPE}")
_LOCK_PAYMENT = text("SELECT id FROM payments WHERE id = :payment_id FOR UPDATE")
# clock_timestamp: the transaction may have waited for the locks, and history is in the order of versions (I14).
_LOCK = text("SELECT *, clock_timestamp() AS at FROM refunds WHERE id = :id FOR UPDATE")
_FLAG = text("""
    -- flag: whether another refund of this payment still needs action
    UPDATE payments SET needs_action = EXISTS (SELECT FROM refunds WHERE payment_id = :payment_id AND needs_action)
    WHERE id = :payment_id
""")


async def report_refund(refund_id: str, report: Report, *, caller: Caller, request_id: str) -> RefundRow:
    """Store the terminal's report for a worker to record. Return the refund's row.

    Raises ``ResourceNotFound``, ``InvalidStatusTransition`` (the refund needs no action, or was reported differently),
    ``NotAuthorized``, ``ServiceUnavailable``.
    """
    async with caller_transaction(caller) as connection:
        found = await one_row(connection, _PAYMENT, {"id": refund_id, **scope_params(caller)})
        await connection.execute(_LOCK_PAYMENT, found)  # payments before refunds: the order of all locks
        locked = await one_row(connection, _LOCK, {"id": refund_id})
        at = locked.pop("at")
        row = cast(RefundRow, locked)
        if row["report"] == report:
            return row
        if not row["needs_action"]:
            raise _refused_error(row)
        return await _store(connection, row, report, ChangeContext.caller(caller, at=at, request_id=request_id))


async def _store(connection: AsyncConnection, row: RefundRow, report: Report, by: ChangeContext) -> RefundRow:
    changes = {"needs_action": False, "report": render(report).decode(), "reported_at": by.at, "due_at": by.at}
    changed = await apply(connection, REFUND, entity_id=row["id"], event=RefundRemark.REPORT, by=by, changes=changes)
    await connection.execute(_FLAG, {"payment_id": row["payment_id"]})
    return cast(RefundRow, changed)


def _refused_error(row: RefundRow) -> InvalidStatusTransition:
    details = [Detail("status", f"The refund is {row['status']}")]
    if row["report"]:
        details.append(Detail("report", "Reported already: " + ", ".join(f"{k} {v}" for k, v in row["report"].items())))
        message = "This refund was already reported with another result or other numbers"
    else:
        message = "This refund needs no action, so there is nothing to report"
    return InvalidStatusTransition(*details, message=message)

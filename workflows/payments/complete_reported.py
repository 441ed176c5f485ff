"""Complete a reported sale that is cancelled before a worker has processed it, in the transaction of the cancel.

Cash in the drawer and a card approved by the terminal's own application have moved already, so there is nothing to cancel:
the sale is claimed and recorded by the same statements that a worker uses, and the cancel is too late. The rest of the
transaction runs with a worker's rights, because a caller must not record that money has moved.

| version | event            | by                |
|---------|------------------|-------------------|
| n + 1   | ``claim``          | this API process  |
| n + 2   | ``request_cancel`` | the caller        |
| n + 3   | ``complete``       | this API process  |
"""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, act_as
from workflows.payments.rows import ClaimedPayment, PaymentRow
from workflows.payments.states import PAYMENT, PaymentRemark
from workflows.payments.workload import PaymentWorkload
from workflows.processing.decide import RetryPolicy, decide
from workflows.processing.workload import Answered
from workflows.providers.base import Succeeded
from workflows.providers.registry import charge_locally
from workflows.transitions import ChangeContext, apply

LEASE_SECONDS = 30.0
"""Any lease will do: it ends with this transaction."""

NO_CALLS = RetryPolicy(max_processing_seconds=0, review_after_seconds=0)
_ROW = text("SELECT * FROM payments WHERE id = :id")


def has_moved(row: PaymentRow, *, at: datetime, payments: PaymentWorkload) -> bool:
    """Return whether this payment is a report of money that has moved already."""
    claimed = cast(ClaimedPayment, {**row, "now": at})
    return isinstance(
        charge_locally(row["provider"], payments.build_request(claimed, payments.facts(claimed, None), "")), Succeeded
    )


async def complete_reported(
    connection: AsyncConnection,
    payment_id: str,
    cancel: dict[str, Any],
    *,
    by: ChangeContext,
    payments: PaymentWorkload,
) -> PaymentRow:
    """Complete the pending payment, whose row (and bill) the transaction has locked. Return its row.

    ``cancel`` holds the columns that the cancel sets.
    """
    await act_as(connection, Role.WORKER)
    worker = f"api for {by.caller_id}"
    (claim,) = await payments.start(connection, [payment_id], worker=worker, lease_seconds=LEASE_SECONDS)
    await apply(connection, PAYMENT, entity_id=payment_id, event=PaymentRemark.REQUEST_CANCEL, by=by, changes=cancel)
    answer = payments.answer_locally(claim)
    decision = decide(claim.step, answer, facts=claim.facts, policy=NO_CALLS)
    await payments.record(connection, [Answered(claim, answer, decision)], worker=worker)
    row = (await connection.execute(_ROW, {"id": payment_id})).mappings().one()
    return cast(PaymentRow, dict(row))

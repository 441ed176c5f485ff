"""Record what providers answered, for many payments in one statement.

Answers arrive one by one, and those that have arrived are recorded together, so a slow payment never delays a finished one. A
row changes only if its fence is still that of the claim. A worker that was stopped for longer than its lease therefore changes
nothing, and the answer that it received is stored as evidence beside the payment.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, rows_parameter
from workflows.database.months import MARK, MonthlyStatement, execute_in_month, execute_within
from workflows.ledger.post_journals import COMPLETION_JOURNALS, journal_ids, post_completions
from workflows.payments.models import RecordedPayment
from workflows.payments.update_bills import update_bills
from workflows.processing import shared_statements as shared
from workflows.processing.decision import FinalStatus
from workflows.processing.next_step import Step
from workflows.processing.recorder import common_columns, count_final, tally_final
from workflows.processing.workload import AnsweredClaim
from workflows.providers.base import Charge, Succeeded

_CANCEL_IS_NEXT = "(r.cancel_requested_at IS NOT NULL AND i.step NOT IN ('withdraw', 'reverse'))"
"""SQL condition: a cancel was requested during the call, so the next step is due at once."""

_IS_REFUNDED = (
    """(i.status = 'completed' AND r.cancel_requested_at IS NOT NULL AND r.on_too_late IS NOT DISTINCT FROM 'refund')"""
)
"""SQL condition: the transaction that completes the payment also refunds it (``update_bills.is_refunded``)."""

_STATEMENT = f"""
    -- record: status, history, attempt, evidence of inquiries and one NOTIFY, for every row whose fence still holds
    WITH input AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i({shared.INPUT_COLUMNS},
            next_action jsonb, preserve_action boolean, approval_code text, card_brand text, card_last_4 text,
            journal text, fee_journal text)
        ORDER BY id
    ), recorded AS (
        UPDATE payments{MARK} r
        SET status = coalesce(i.status, r.status),
            version = r.version + CASE WHEN i.event IS NULL THEN 0 ELSE 1 END,
            {shared.OUTCOME_COLUMNS},
            captured_amount = CASE WHEN i.status = 'completed' THEN r.amount + r.tip_amount ELSE r.captured_amount END,
            approval_code = coalesce(i.approval_code, r.approval_code),
            card_brand = coalesce(i.card_brand, r.card_brand),
            card_last_4 = coalesce(i.card_last_4, r.card_last_4),
            cancel_reason = CASE WHEN i.status = 'cancelled' THEN coalesce(r.cancel_reason, i.code) ELSE r.cancel_reason END,
            cancel_outcome = CASE
                WHEN r.cancel_requested_at IS NULL THEN r.cancel_outcome
                WHEN i.status = 'completed' THEN 'too_late'
                WHEN i.status IN ('cancelled', 'failed') THEN i.status
                ELSE r.cancel_outcome END,
            -- A JSON null in the input means that there is no action; the column is then null.
            next_action = CASE WHEN i.preserve_action THEN r.next_action ELSE nullif(i.next_action, 'null'::jsonb) END,
            -- Never due again if due_in is null, because the sum is null then.
            due_at = CASE WHEN i.status IS NOT NULL THEN NULL
                WHEN {_CANCEL_IS_NEXT} THEN now()
                ELSE now() + make_interval(secs => i.due_in) END,
            -- A resolved doubt resets the schedule: the next doubt starts it from the beginning. So does a call that
            -- follows, such as the withdrawal after a cancel.
            inquiries = CASE WHEN i.status IS NOT NULL THEN r.inquiries
                WHEN i.outcome_known OR {_CANCEL_IS_NEXT} THEN 0
                ELSE coalesce(i.inquiries, r.inquiries) END,
            cancelled_at = CASE WHEN i.status = 'cancelled' THEN now() END
        FROM input i
        -- The ids once more as an array; otherwise a cached plan may read all payments to find the few that are processing.
        -- A recorded row has no lease, so recording it again after a COMMIT that was not acknowledged changes nothing.
        WHERE r.id = ANY(:ids) AND r.id = i.id AND r.fence = i.fence AND r.status = 'processing'
          AND r.lease_until IS NOT NULL {{condition}}
        RETURNING r.id, r.version, r.status, r.merchant_id, r.store_id, r.request_id, r.bill_id, r.amount, r.currency,
                  r.tip_amount, r.captured_amount, r.fee, r.provider, r.method_type, r.cancel_outcome, r.on_too_late,
                  r.completed_at, i.attempt, i.step, i.event, i.code, i.message, i.attempt_outcome, i.provider_reference,
                  i.not_found, i.answer, i.journal, i.fee_journal, extract(epoch FROM now() - r.created_at)::float AS age
    ), history AS ({shared.HISTORY.format(entity="payment", month=MARK)}
    ), attempts AS ({shared.ATTEMPTS.format(entity="payment", month=MARK, ids=":ids")}
    ), messages AS ({shared.MESSAGES.format(entity="payment")}{{journals}}
    )
    SELECT id, status, merchant_id, store_id, request_id, bill_id, amount, currency, captured_amount, fee, provider,
           method_type, cancel_outcome, on_too_late, completed_at, now() AS recorded_at, code, age,
           (SELECT pg_notify('payments', string_agg(id || ':' || version, ' ')) FROM recorded WHERE event IS NOT NULL
            HAVING count(*) > 0)
    FROM recorded
"""
_RECORD = MonthlyStatement(_STATEMENT.format(condition="", journals=""))
_RECORD_ALONE = MonthlyStatement(_STATEMENT.format(condition=f"AND NOT ({_IS_REFUNDED})", journals=COMPLETION_JOURNALS))

# Success for a payment that has failed or was cancelled is an exception for a person.
_KIND = "CASE WHEN i.answer = 'succeeded' AND r.status IN ('failed', 'cancelled') THEN 'late_success' ELSE 'late_answer' END"
_EVIDENCE = text(shared.EVIDENCE.format(entity="payment", kind=_KIND))


class RecordedHook(Protocol):
    """A function that is called with the recorded payments, in the transaction that recorded them."""

    async def __call__(
        self, connection: AsyncConnection, recorded: Sequence[RecordedPayment], worker: str, /
    ) -> None: ...


async def record_payments_alone(group: list[AnsweredClaim[Charge]], *, worker: str) -> dict[str, str]:
    """Record those payments of ``group`` from which only journals follow, in one statement.

    The statement is its own transaction. No payment of ``group`` may have a bill. Return the new status of each recorded
    payment by id. A payment is absent if its fence was lost, or if a cancel that asks for a refund came too late:
    ``record_payments`` must record it.
    """
    rows = [_payment_columns(answered) for answered in group]
    for row in rows:
        if row["status"] == FinalStatus.COMPLETED:
            row.update(journal_ids(row["id"]))
    parameters: dict[str, Any] = {"rows": rows_parameter(rows), "ids": [row["id"] for row in rows], "worker": worker}
    found = await execute_in_month(Role.WORKER, _RECORD_ALONE, parameters["ids"], parameters)
    recorded = cast(Sequence[RecordedPayment], found.all())
    count_final("payment", recorded)
    return {row["id"]: row["status"] for row in recorded}


async def record_payments(
    connection: AsyncConnection, group: list[AnsweredClaim[Charge]], *, worker: str, refund_late_cancels: RecordedHook
) -> dict[str, str]:
    """Record ``group`` and everything that follows from it, in the transaction of ``connection``.

    The calling function must have locked the bills. Return the new status of each payment by id; payments whose fence was
    lost are absent. ``worker`` is the actor in the history.

    Then the bills are updated, payments whose cancel came too late are refunded, and the ledger is posted. None of these three
    reads what another one wrote; every worker runs them in this order, so that locks are always taken in the same order.
    """
    rows = [_payment_columns(answered) for answered in group]
    parameters: dict[str, Any] = {"rows": rows_parameter(rows), "ids": [row["id"] for row in rows], "worker": worker}
    found = await execute_within(connection, _RECORD, parameters["ids"], parameters, role=Role.WORKER)
    # tests/unit/database/test_row_types.py compares the columns of the statement with this type.
    recorded = cast(Sequence[RecordedPayment], found.mappings().all())
    statuses: dict[str, str] = {row["id"]: row["status"] for row in recorded}
    tally_final(connection, "payment", recorded)
    await update_bills(connection, recorded, worker)
    await refund_late_cancels(connection, recorded, worker)
    await post_completions(connection, recorded)
    evidence = [row for row in rows if row["id"] not in statuses and row["answer"] is not None]
    if evidence:
        await connection.execute(_EVIDENCE, {"rows": rows_parameter(evidence), "worker": worker})
    return statuses


def _payment_columns(answered: AnsweredClaim[Charge]) -> dict[str, Any]:
    """Return an answer as a row of the input of ``_RECORD``."""
    decision = answered.decision
    row = common_columns(answered)
    if answered.claim.step is Step.CANCEL:
        row["attempt_outcome"] = None  # no provider was called, so the last attempt stays as it is
    if decision.provider_reference is None and isinstance(answered.answer, Succeeded):
        row["provider_reference"] = answered.answer.provider_reference
    return {
        **row,
        "next_action": decision.next_action,
        "preserve_action": decision.preserve_action,
        "approval_code": decision.approval_code,
        "card_brand": decision.card_brand,
        "card_last_4": decision.card_last_4,
    }

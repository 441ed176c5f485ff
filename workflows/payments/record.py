"""Record what providers answered, for many payments in one statement.

Answers arrive one by one and are recorded in the groups that happen to be ready, so a slow payment never delays a finished
one. A row changes only if its fence is still that of the claim: a worker that was stopped beyond its lease changes nothing,
and the answer it received is stored as evidence beside the payment.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypedDict, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import rows_parameter
from workflows.database.metrics_buffer import FINAL, note_final
from workflows.ledger.post_journals import post_completions
from workflows.payments.models import RecordedPayment
from workflows.payments.update_bills import update_bills
from workflows.processing import shared_statements as shared
from workflows.processing.next_step import Step
from workflows.processing.workload import Answered
from workflows.providers.base import Answer, Charge, Succeeded

_RECORD = text(f"""
    -- record: status, history, attempt, evidence of inquiries and one NOTIFY, for every row whose fence still holds
    WITH input AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i({shared.INPUT_COLUMNS},
            next_action jsonb, preserve_action boolean, approval_code text, card_brand text, card_last_4 text)
        ORDER BY id
    ), recorded AS (
        UPDATE payments r
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
            next_action = CASE WHEN i.preserve_action THEN r.next_action ELSE nullif(i.next_action, 'null'::jsonb) END,
            -- A cancel that was requested during the call is processed at once.
            due_at = CASE WHEN i.status IS NOT NULL THEN NULL
                WHEN r.cancel_requested_at IS NOT NULL AND i.step NOT IN ('withdraw', 'reverse') THEN now()
                ELSE now() + make_interval(secs => i.due_in) END,
            -- A resolved doubt resets the schedule: the next doubt starts it from the beginning. So does a call that
            -- follows, such as the withdrawal after a cancel.
            inquiries = CASE WHEN i.status IS NOT NULL THEN r.inquiries
                WHEN i.outcome_known OR r.cancel_requested_at IS NOT NULL AND i.step NOT IN ('withdraw', 'reverse') THEN 0
                ELSE coalesce(i.inquiries, r.inquiries) END,
            cancelled_at = CASE WHEN i.status = 'cancelled' THEN now() END
        FROM input i
        -- The ids once more as an array: otherwise a cached plan may read all payments to find the few that are processing.
        -- A recorded row has no lease: recording once more after a COMMIT whose answer was lost changes nothing.
        WHERE r.id = ANY(:ids) AND r.id = i.id AND r.fence = i.fence AND r.status = 'processing'
          AND r.lease_until IS NOT NULL
        RETURNING r.id, r.version, r.status, r.merchant_id, r.store_id, r.request_id, r.bill_id, r.amount, r.currency,
                  r.captured_amount, r.fee, r.provider, r.method_type, r.cancel_outcome, r.on_too_late, r.completed_at,
                  i.attempt, i.step, i.event, i.code, i.message, i.attempt_outcome, i.provider_reference, i.not_found,
                  i.answer, extract(epoch FROM now() - r.created_at)::float AS age
    ), history AS ({shared.HISTORY.format(entity="payment")}
    ), attempts AS ({shared.ATTEMPTS.format(entity="payment", ids=":ids")}
    ), messages AS ({shared.MESSAGES.format(entity="payment")}
    )
    SELECT id, status, merchant_id, store_id, request_id, bill_id, amount, currency, captured_amount, fee, provider,
           method_type, cancel_outcome, on_too_late, completed_at, now() AS recorded_at, code, age,
           (SELECT pg_notify('payments', string_agg(id || ':' || version, ' ')) FROM recorded WHERE event IS NOT NULL
            HAVING count(*) > 0)
    FROM recorded
""")

# Success for a payment that has failed or was cancelled is an exception for a person.
_LATE = "CASE WHEN i.answer = 'succeeded' AND r.status IN ('failed', 'cancelled') THEN 'late_success' ELSE 'late_answer' END"
_EVIDENCE = text(shared.EVIDENCE.format(entity="payment", kind=_LATE))


class Recorded(TypedDict):
    """The fields of a recorded row that ``tally_outcomes`` reads."""

    status: str
    method_type: str
    provider: str
    code: str | None
    age: float


OnRecorded = Callable[[AsyncConnection, Sequence[RecordedPayment], str], Awaitable[None]]
"""A step in the transaction that recorded these payments; its last argument is the worker's name."""

_NAMES: dict[type, str] = {}


def answer_name(answer: Answer | None) -> str:
    """Return the name of an answer in the database: ``Succeeded`` → ``succeeded``, ``NotFound`` → ``not_found``."""
    kind = type(answer)
    if kind not in _NAMES:
        letters = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__)
        _NAMES[kind] = letters.lstrip("_")
    return _NAMES[kind]


def row_of(answered: Answered[Any]) -> dict[str, Any]:
    """Return what is recorded of an answer, for payments and refunds alike."""
    decision, claim = answered.decision, answered.claim
    return {
        "id": claim.id,
        "fence": claim.fence,
        "attempt": claim.attempt_number,
        "step": str(claim.step),
        "event": decision.event,
        "status": decision.status,
        "due_in": decision.due_in_seconds,
        "attempt_outcome": decision.attempt_outcome,
        "code": decision.code,
        "message": decision.message,
        "outcome_known": decision.outcome_known,
        "needs_review": decision.needs_review,
        "provider_reference": decision.provider_reference,
        "not_found": decision.not_found,
        "inquiries": decision.inquiries,
        "answer": answer_name(answered.answer),
        "fee": decision.fee,
    }


async def record_payments(
    connection: AsyncConnection, group: list[Answered[Charge]], *, worker: str, refund_late_cancels: OnRecorded
) -> dict[str, str]:
    """Write ``group``, whose bills are locked, and its consequences; return the statuses of rows whose fences held.

    Bills follow, then refunds of payments whose cancel came too late, then the ledger, all in the transaction of
    ``connection``. ``worker`` is the actor in the history.
    """
    rows = [_row(answered) for answered in group]
    parameters = {"rows": rows_parameter(rows), "ids": [row["id"] for row in rows], "worker": worker}
    recorded = cast(Sequence[RecordedPayment], (await connection.execute(_RECORD, parameters)).mappings().all())
    statuses: dict[str, str] = {row["id"]: row["status"] for row in recorded}
    tally_outcomes(connection, "payment", recorded)
    await update_bills(connection, recorded, worker)
    await refund_late_cancels(connection, recorded, worker)
    await post_completions(connection, recorded)
    late = [row for row in rows if row["id"] not in statuses]
    if late:
        await _store_evidence(connection, late, worker)
    return statuses


def tally_outcomes(connection: AsyncConnection, entity: str, recorded: Sequence[Recorded]) -> None:
    """Count the rows that became final, for the metrics."""
    for row in recorded:
        if row["status"] in FINAL:
            note_final(
                connection,
                entity,
                method=row["method_type"],
                provider=row["provider"],
                status=row["status"],
                code=row["code"],
                seconds=row["age"],
            )


async def _store_evidence(connection: AsyncConnection, late: list[dict[str, Any]], worker: str) -> None:
    answered = [row for row in late if row["answer"] != "none_type"]
    await connection.execute(_EVIDENCE, {"rows": rows_parameter(answered), "worker": worker})


def _row(answered: Answered[Charge]) -> dict[str, Any]:
    decision = answered.decision
    row = row_of(answered)
    if answered.claim.step is Step.CANCEL:
        row["attempt_outcome"] = None  # it never reached a provider, so there is no attempt
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

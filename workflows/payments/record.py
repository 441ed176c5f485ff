"""Record: write down what the provider said, for many payments in one statement.

Answers come in one by one and are recorded in the small groups that happen to be ready, so a slow payment never holds
back a finished one. A row moves only if its fence is still the one of the claim: a worker that was stopped beyond its
lease changes nothing, and what it heard is kept as evidence beside the payment.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypedDict, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import rows_parameter
from workflows.database.metric_counts import FINAL, outcome_written
from workflows.ledger.post import post_completions
from workflows.payments.rows import RecordedPayment
from workflows.payments.update_bills import update_bills
from workflows.processing.next_step import Step
from workflows.processing.workload import Answered
from workflows.providers.base import Answer, Charge, Succeeded

_RECORD = text("""
    -- record: status, history, attempt, evidence of questions and one NOTIFY, for every row whose fence still holds
    WITH input AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
            id text, fence integer, attempt integer, step text, event text, status text, due_in double precision,
            attempt_outcome text, code text, message text, outcome_known boolean, needs_review boolean,
            next_action jsonb, preserve_action boolean, provider_reference text, approval_code text, card_brand text,
            card_last_4 text, not_found boolean, inquiries integer, answer text, fee bigint)
        ORDER BY id
    ), moved AS (
        UPDATE payments p
        SET status = coalesce(i.status, p.status),
            version = p.version + CASE WHEN i.event IS NULL THEN 0 ELSE 1 END,
            captured_amount = CASE WHEN i.status = 'completed' THEN p.amount + p.tip_amount ELSE p.captured_amount END,
            provider_reference = coalesce(i.provider_reference, p.provider_reference),
            fee = CASE WHEN i.status = 'completed' THEN i.fee ELSE p.fee END,
            approval_code = coalesce(i.approval_code, p.approval_code),
            card_brand = coalesce(i.card_brand, p.card_brand),
            card_last_4 = coalesce(i.card_last_4, p.card_last_4),
            failure_code = CASE WHEN i.status = 'failed' OR i.needs_review THEN coalesce(i.code, p.failure_code) END,
            failure_message = CASE WHEN i.status = 'failed' OR i.needs_review THEN coalesce(i.message, p.failure_message) END,
            cancel_reason = CASE WHEN i.status = 'cancelled' THEN coalesce(p.cancel_reason, i.code) ELSE p.cancel_reason END,
            cancel_outcome = CASE
                WHEN p.cancel_requested_at IS NULL THEN p.cancel_outcome
                WHEN i.status = 'completed' THEN 'too_late'
                WHEN i.status IN ('cancelled', 'failed') THEN i.status
                ELSE p.cancel_outcome END,
            outcome_known = i.outcome_known,
            in_doubt_since = CASE WHEN i.outcome_known THEN NULL ELSE least(p.in_doubt_since, now()) END,
            needs_review = i.needs_review,
            next_action = CASE WHEN i.preserve_action THEN p.next_action ELSE nullif(i.next_action, 'null'::jsonb) END,
            -- A cancel that was asked for while the provider was being asked is seen to at once.
            due_at = CASE WHEN i.status IS NOT NULL THEN NULL
                WHEN p.cancel_requested_at IS NOT NULL AND i.step NOT IN ('withdraw', 'reverse') THEN now()
                ELSE now() + make_interval(secs => i.due_in) END,
            lease_until = NULL, unanswered_claims = 0,
            -- A doubt that is over is forgotten: the next one is asked about from the beginning of the schedule. So is a call
            -- that follows, such as the withdrawal after a cancel.
            inquiries = CASE WHEN i.status IS NOT NULL THEN p.inquiries
                WHEN i.outcome_known OR p.cancel_requested_at IS NOT NULL AND i.step NOT IN ('withdraw', 'reverse') THEN 0
                ELSE coalesce(i.inquiries, p.inquiries) END,
            completed_at = CASE WHEN i.status = 'completed' THEN now() END,
            failed_at = CASE WHEN i.status = 'failed' THEN now() END,
            cancelled_at = CASE WHEN i.status = 'cancelled' THEN now() END
        FROM input i
        -- The ids once more as an array: else a kept plan may go through all payments to find the few that are processing.
        -- A recorded row has no lease: recording once more after a COMMIT whose answer was lost changes nothing.
        WHERE p.id = ANY(:ids) AND p.id = i.id AND p.fence = i.fence AND p.status = 'processing'
          AND p.lease_until IS NOT NULL
        RETURNING p.id, p.version, p.status, p.merchant_id, p.store_id, p.request_id, p.bill_id, p.amount, p.currency,
                  p.captured_amount, p.fee, p.provider, p.method_type, p.cancel_outcome, p.on_too_late, p.completed_at,
                  i.attempt, i.step, i.event, i.code, i.message, i.attempt_outcome, i.provider_reference, i.not_found,
                  i.answer, extract(epoch FROM now() - p.created_at)::float AS age
    ), history AS (
        INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                     caller_type, caller_id, reason, request_id)
        -- clock_timestamp: the row's lock was perhaps waited for, and history is in the order of versions (I14).
        SELECT id, version, merchant_id, store_id, event, 'processing', status, clock_timestamp(), 'worker', :worker, code,
               request_id
        FROM moved WHERE event IS NOT NULL
    ), attempts AS (
        UPDATE payment_attempts a
        SET outcome = m.attempt_outcome, answered_at = now(), code = m.code, message = m.message,
            provider_reference = coalesce(m.provider_reference, a.provider_reference),
            not_found_at = CASE WHEN m.not_found THEN least(a.not_found_at, now()) END
        FROM moved m
        WHERE a.payment_id = ANY(:ids) AND a.payment_id = m.id AND a.number = m.attempt AND m.attempt_outcome IS NOT NULL
    ), messages AS (
        INSERT INTO payment_messages (payment_id, merchant_id, store_id, attempt, kind, answer, detail, at)
        SELECT id, merchant_id, store_id, attempt,
               CASE step WHEN 'inquire' THEN 'inquiry' WHEN 'withdraw' THEN 'withdrawal' WHEN 'reverse' THEN 'reversal'
                   ELSE 'resend' END,
               answer, jsonb_strip_nulls(jsonb_build_object('code', code, 'message', message)), now()
        FROM moved WHERE step IN ('inquire', 'withdraw', 'reverse', 'retry', 'resend')
    )
    SELECT id, status, merchant_id, store_id, request_id, bill_id, amount, currency, captured_amount, fee, provider,
           method_type, cancel_outcome, on_too_late, completed_at, now() AS recorded_at, code, age,
           (SELECT pg_notify('payments', string_agg(id || ':' || version, ' ')) FROM moved WHERE event IS NOT NULL
            HAVING count(*) > 0)
    FROM moved
""")

_EVIDENCE = text("""
    -- evidence: an answer that came after somebody else had taken over; success for a dead payment is an exception
    INSERT INTO payment_messages (payment_id, merchant_id, store_id, attempt, kind, answer, detail, at)
    SELECT p.id, p.merchant_id, p.store_id, i.attempt,
           CASE WHEN i.answer = 'succeeded' AND p.status IN ('failed', 'cancelled') THEN 'late_success' ELSE 'late_answer' END,
           i.answer, jsonb_strip_nulls(jsonb_build_object('code', i.code, 'message', i.message,
               'provider_reference', i.provider_reference, 'fence', i.fence, 'worker', CAST(:worker AS text))), now()
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i(
        id text, fence integer, attempt integer, status text, answer text, code text, message text,
        provider_reference text)
    JOIN LATERAL (SELECT id, merchant_id, store_id, fence, status FROM payments WHERE id = i.id LIMIT 1) p
        ON p.fence <> i.fence OR p.status <> coalesce(i.status, p.status)
""")


class Recorded(TypedDict):
    """What is counted of a recorded row: ``tally_outcomes``."""

    status: str
    method_type: str
    provider: str
    code: str | None
    age: float


OnRecorded = Callable[[AsyncConnection, Sequence[RecordedPayment], str], Awaitable[None]]
"""A step in the transaction that recorded these rows, by which worker."""

_NAMES: dict[type, str] = {}


def answer_name(answer: Answer | None) -> str:
    """The name of an answer in the database: ``Succeeded`` → ``succeeded``, ``NotFound`` → ``not_found``."""
    kind = type(answer)
    if kind not in _NAMES:
        letters = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__)
        _NAMES[kind] = letters.lstrip("_")
    return _NAMES[kind]


def row_of(answered: Answered[Any]) -> dict[str, Any]:
    """What is recorded of an answer, whatever was asked."""
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
    moved = cast(Sequence[RecordedPayment], (await connection.execute(_RECORD, parameters)).mappings().all())
    statuses: dict[str, str] = {row["id"]: row["status"] for row in moved}
    tally_outcomes(connection, "payment", moved)
    await update_bills(connection, moved, worker)
    await refund_late_cancels(connection, moved, worker)
    await post_completions(connection, moved)
    late = [row for row in rows if row["id"] not in statuses]
    if late:
        await _store_evidence(connection, late, worker)
    return statuses


def tally_outcomes(connection: AsyncConnection, entity: str, moved: Sequence[Recorded]) -> None:
    """Note the rows that became final, for the metrics."""
    for row in moved:
        if row["status"] in FINAL:
            outcome_written(
                connection,
                entity,
                method=row["method_type"],
                provider=row["provider"],
                status=row["status"],
                code=row["code"],
                seconds=row["age"],
            )


async def _store_evidence(connection: AsyncConnection, late: list[dict[str, Any]], worker: str) -> None:
    heard = [row for row in late if row["answer"] != "none_type"]
    await connection.execute(_EVIDENCE, {"rows": rows_parameter(heard), "worker": worker})


def _row(answered: Answered[Charge]) -> dict[str, Any]:
    decision = answered.decision
    row = row_of(answered)
    if answered.claim.step is Step.CANCEL:
        row["attempt_outcome"] = None  # it never reached a provider: there is no attempt to write an outcome into
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

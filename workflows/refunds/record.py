"""Record what providers answered about refunds, and update their payments and bills.

| refund becomes | payment                                                                                 |
|----------------|-----------------------------------------------------------------------------------------|
| ``completed``  | ``refunded_amount`` grows; the first refund moves it from ``completed`` to ``refunded`` |
| ``failed``     | the reservation is released; an off-bill payment may pay its bill (``late_cancels``)    |
| neither yet    | the reservation stays, so that money that may have been refunded is not refunded again  |

An answer means the same for a refund as for a payment, but two events have other names:

| ``processing.decide`` | because the provider                | for a refund                                       |
|-----------------------|-------------------------------------|----------------------------------------------------|
| ``ask_customer``      | accepted it and needs time          | ``await_provider``: no customer has to do anything |
| ``cancel``            | moved nothing and never will        | ``fail``, its only end without money               |
| anything else         |                                     | the same name                                      |

All code locks bills first, then payments, then refunds. A refund changes only if its fence is still that of its claim, as in
``workflows.payments.record``.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.apply_payments import apply_refunds
from workflows.bills.balance import share_of_refund
from workflows.bills.lock import BillAmount
from workflows.database.engines import Role, rows_parameter
from workflows.database.metrics_buffer import FINAL
from workflows.database.months import MARK, MonthlyStatement, execute_in_month, execute_within
from workflows.ledger.post_journals import REFUND_JOURNALS, journal_ids, post_refunds
from workflows.processing import shared_statements as shared
from workflows.processing.decision import Decision, Event, Remark
from workflows.processing.recorder import common_columns, count_final, tally_final
from workflows.processing.workload import AnsweredClaim
from workflows.providers.base import ChargeRefund
from workflows.refunds.late_cancels import update_bills_after_failed_refunds
from workflows.refunds.models import FinalRefund, RecordedRefund
from workflows.refunds.states import RefundEvent, RefundRemark, RefundStatus
from workflows.transitions import ChangeContext

EVENTS = {Remark.ASK_CUSTOMER: RefundRemark.AWAIT_PROVIDER, Event.CANCEL: RefundEvent.FAIL}
ENDS = {RefundEvent.COMPLETE: RefundStatus.COMPLETED, RefundEvent.FAIL: RefundStatus.FAILED}
OUTCOMES = {"withdrawn": "declined"}  # an attempt of a refund cannot be withdrawn, so this answer is a decline

_LOCK = text("""
    -- lock: the payments of these refunds, in the order of their ids
    SELECT id FROM payments WHERE id = ANY(:payment_ids) ORDER BY id FOR UPDATE
""")

_STATEMENT = f"""
    -- record: refunds with history, attempts and messages, then the effect on their payments, for every fence that holds
    WITH {{locked}}input AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i({shared.INPUT_COLUMNS}, journal text, fee_journal text)
        ORDER BY id
    ), recorded AS (
        UPDATE refunds r
        SET status = coalesce(i.status, r.status),
            version = r.version + CASE WHEN i.event IS NULL THEN 0 ELSE 1 END,
            {shared.OUTCOME_COLUMNS},
            due_at = now() + make_interval(secs => i.due_in),
            -- A resolved doubt resets the schedule: the next doubt starts it from the beginning.
            inquiries = CASE WHEN i.status IS NOT NULL THEN r.inquiries WHEN i.outcome_known THEN 0
                ELSE coalesce(i.inquiries, r.inquiries) END
        FROM input i
        -- Here and below, the ids are passed once more as an array; otherwise a cached plan may read the whole table.
        WHERE r.id = ANY(ARRAY(SELECT id FROM input)) AND r.id = i.id AND r.fence = i.fence
          AND r.status = 'processing' AND r.lease_until IS NOT NULL{{condition}}
        RETURNING r.id, r.version, r.status, r.merchant_id, r.store_id, r.request_id, r.payment_id, r.amount, r.currency,
                  r.fee, r.provider, r.completed_at, i.attempt,
                  i.step, i.event, i.code, i.message, i.attempt_outcome, i.provider_reference, i.not_found,
                  i.answer, i.journal, i.fee_journal, extract(epoch FROM now() - r.created_at)::float AS age
    ), history AS ({shared.HISTORY.format(entity="refund", month="")}
    ), attempts AS ({shared.ATTEMPTS.format(entity="refund", month="", ids="ARRAY(SELECT id FROM recorded)")}
    ), messages AS ({shared.MESSAGES.format(entity="refund")}{{journals}}
    ), sums AS (
        SELECT payment_id,
               CAST(coalesce(sum(amount) FILTER (WHERE status = 'completed'), 0) AS bigint) AS refunded,
               CAST(coalesce(sum(amount) FILTER (WHERE status = 'failed'), 0) AS bigint) AS released,
               max(request_id) AS request_id
        FROM recorded WHERE status IN ('completed', 'failed') GROUP BY payment_id
    ), paid AS (
        UPDATE payments{MARK} p
        SET refunded_amount = p.refunded_amount + s.refunded, refund_reserved = p.refund_reserved - s.released,
            status = CASE WHEN s.refunded > 0 THEN 'refunded' ELSE p.status END,
            version = p.version + CASE WHEN s.refunded > 0 THEN 1 ELSE 0 END,
            refunded_at = CASE WHEN s.refunded > 0 THEN coalesce(p.refunded_at, now()) ELSE p.refunded_at END,
            -- A review ends once the whole payment is refunded.
            needs_review = p.needs_review AND p.refunded_amount + s.refunded < p.captured_amount
        FROM sums s WHERE p.id = ANY(ARRAY(SELECT payment_id FROM sums)) AND p.id = s.payment_id
        RETURNING p.id, p.version, p.merchant_id, p.store_id, p.bill_id, p.amount, p.refunded_amount, s.refunded,
                  s.request_id, p.off_bill, p.refund_reserved, p.method_type
    ), payment_history_rows AS (
        INSERT INTO payment_history{MARK} (payment_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                           caller_type, caller_id, reason, request_id)
        SELECT id, version, merchant_id, store_id,
               CASE WHEN refunded_amount = refunded THEN 'refund' ELSE 'refund_more' END,
               CASE WHEN refunded_amount = refunded THEN 'completed' ELSE 'refunded' END,
               'refunded', clock_timestamp(), 'worker', :worker, NULL, request_id
        FROM paid WHERE refunded > 0
    )
    SELECT m.id, m.status, m.merchant_id, m.store_id, m.request_id, m.payment_id, m.amount, m.currency, m.fee, m.provider,
           m.completed_at, m.code, m.age, p.method_type, p.bill_id, p.amount AS payment_amount,
           p.refunded_amount - p.refunded AS refunded_before, p.off_bill, p.refund_reserved AS still_reserved,
           (SELECT pg_notify('refunds', string_agg(id || ':' || version, ' ')) FROM recorded WHERE event IS NOT NULL
            HAVING count(*) > 0),
           (SELECT pg_notify('payments', string_agg(id || ':' || version, ' ')) FROM paid WHERE refunded > 0
            HAVING count(*) > 0)
    FROM recorded m LEFT JOIN paid p ON p.id = m.payment_id
"""
_RECORD = MonthlyStatement(_STATEMENT.format(locked="", condition="", journals=""))
_RECORD_ALONE = MonthlyStatement(
    _STATEMENT.format(
        locked=f"""locked AS (
        SELECT id FROM payments{MARK} WHERE id = ANY(:payment_ids) ORDER BY id FOR UPDATE
    ), """,
        # An array is complete before the first refund is locked: payments before refunds, as everywhere. An update that
        # had to wait sees the newest version of its row, and checks these conditions again.
        condition=" AND r.payment_id = ANY(ARRAY(SELECT id FROM locked))",
        journals=REFUND_JOURNALS,
    )
)

_EVIDENCE = text(shared.EVIDENCE.format(entity="refund", kind="'late_answer'"))


async def record_refunds_alone(group: list[AnsweredClaim[ChargeRefund]], *, worker: str) -> dict[str, str]:
    """Record refunds of payments without bills, with their journals, in one statement.

    The statement is its own transaction. Return the new status of each recorded refund by id. A refund is absent if its fence
    was lost: ``record_refunds`` must store its answer.
    """
    rows = _input_rows(group)
    for row in rows:
        if row["status"] == RefundStatus.COMPLETED:
            row.update(journal_ids(row["id"]))
    payment_ids = [answered.claim.request.payment_id for answered in group]
    parameters = {"rows": rows_parameter(rows), "payment_ids": payment_ids, "worker": worker}
    found = await execute_in_month(Role.WORKER, _RECORD_ALONE, _all_ids(rows, payment_ids), parameters)
    recorded = cast(Sequence[RecordedRefund], found.all())
    count_final("refund", [cast(FinalRefund, row) for row in recorded if row["status"] in FINAL])
    return {row["id"]: row["status"] for row in recorded}


def _all_ids(rows: Sequence[Mapping[str, Any]], payment_ids: Sequence[str]) -> list[str]:
    """Return the ids whose rows and journals the statement changes.

    A refund may be in another month than its payment.
    """
    return [*payment_ids, *(row["id"] for row in rows)]


def _input_rows(group: Sequence[AnsweredClaim[ChargeRefund]]) -> list[dict[str, Any]]:
    return [{**common_columns(answered), **as_refund(answered.decision)} for answered in group]


async def record_refunds(
    connection: AsyncConnection, group: list[AnsweredClaim[ChargeRefund]], *, worker: str
) -> dict[str, str]:
    """Record ``group`` and everything that follows from it, in the transaction of ``connection``.

    The calling function must have locked the bills; the payments are locked here, before the refunds. Return the new status
    of each refund by id; refunds whose fence was lost are absent. ``worker`` is the actor in the history.
    """
    rows = _input_rows(group)
    payment_ids = sorted({answered.claim.request.payment_id for answered in group})
    await connection.execute(_LOCK, {"payment_ids": payment_ids})
    parameters = {"rows": rows_parameter(rows), "worker": worker}
    found = await execute_within(connection, _RECORD, _all_ids(rows, payment_ids), parameters, role=Role.WORKER)
    recorded = cast(Sequence[RecordedRefund], found.mappings().all())
    final = [cast(FinalRefund, row) for row in recorded if row["status"] in FINAL]
    tally_final(connection, "refund", final)
    await _update_bills(connection, final, worker)
    await update_bills_after_failed_refunds(connection, final, worker)
    await post_refunds(connection, recorded)
    statuses: dict[str, str] = {row["id"]: row["status"] for row in recorded}
    evidence = [row for row in rows if row["id"] not in statuses]
    if evidence:
        await connection.execute(_EVIDENCE, {"rows": rows_parameter(evidence), "worker": worker})
    return statuses


def as_refund(decision: Decision) -> dict[str, str | None]:
    """Translate ``decision`` to a refund's event, status and attempt outcome; ``None`` is not recorded."""
    event = None if decision.event is None else str(EVENTS.get(decision.event, decision.event))
    outcome = decision.attempt_outcome
    return {
        "event": event,
        "status": next((str(status) for end, status in ENDS.items() if end == event), None),
        "attempt_outcome": OUTCOMES.get(outcome, outcome) if outcome else None,
    }


async def _update_bills(connection: AsyncConnection, final: Sequence[FinalRefund], worker: str) -> None:
    """Subtract completed refunds from their bills.

    Several refunds of one payment are subtracted one after the other.
    """
    before: dict[str, int] = {}
    shares = []
    for row in final:
        if not row["bill_id"] or row["off_bill"] or row["status"] != RefundStatus.COMPLETED:
            continue
        earlier = before.setdefault(row["payment_id"], row["refunded_before"])
        before[row["payment_id"]] += row["amount"]
        amount = share_of_refund(amount=row["payment_amount"], refunded_before=earlier, refund=row["amount"])
        by = ChangeContext("worker", worker, cast(datetime, row["completed_at"]), request_id=row["request_id"])
        shares.append(BillAmount(row["bill_id"], row["id"], amount, by))
    await apply_refunds(connection, shares)

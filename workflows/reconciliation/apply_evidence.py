"""Record what a statement's lines prove about payments and refunds in doubt.

The lines are recorded like a provider's answer to an inquiry:

| step   | what                                                                                                              |
|--------|-------------------------------------------------------------------------------------------------------------------|
| lock   | bills, payments and refunds, in the order that all code uses, except rows in processing (``lock_open_rows``)      |
| read   | the lines of each row as an answer, or the reason why they are not an answer (``evidence``)                       |
| decide | ``processing.decide``, as for the answer to an inquiry                                                            |
| record | ``payments.record``, ``refunds.record``: status, history, ledger, bill and order, refund after a late cancel      |
| store  | the lines (``statement_evidence``)                                                                                |

All steps are one transaction, and a recorded row is no longer open. A repetition, or a run after a crash, therefore changes
nothing.

A statement that we fetched comes from the provider, so it can prove success and failure. A file that a person uploaded may be
forged or wrong: it completes a payment only if a person confirms it, and it never proves that nothing was charged, because the
terminal would then charge again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.lock import LockFunction
from workflows.database.engines import rows_parameter
from workflows.payments.lock_for_evidence import LockedRow, claim_locked, lock_open_rows
from workflows.processing.decide import RetryPolicy, decide
from workflows.processing.decision import Decision, FinalStatus
from workflows.processing.workload import AnsweredClaim, Workload
from workflows.providers.base import Succeeded, Withdrawn
from workflows.reconciliation.evidence import AttemptRequest, EvidenceReading, read_lines
from workflows.reconciliation.models import StatementLineFields
from workflows.refunds.workload import PAYMENTS, REFUNDS
from workflows.settlements.models import SettlementRow

NO_CALLS = RetryPolicy(max_processing_seconds=0, review_after_seconds=0)
LATE_REVERSAL = timedelta(minutes=10)
"""The time for a reversal or a repeated request to appear on a statement.

A statement lists all that were sent longer than this before its end. Later ones may be missing from it.
"""

UPLOADED = "An uploaded file does not prove that nothing was charged; wait for the provider's own answer"
UNDONE = "A withdrawal may have taken effect after the end of the statement; wait for its answer"
RESENT = "The request was repeated after the end of the statement and may have been charged again; wait for an inquiry"
CONTRADICTED = "The provider's answer to an inquiry has another amount; a person has to confirm one of the two"

_MOVED_LINES = text("""
    SELECT l.statement_id, l.our_reference, jsonb_agg(jsonb_build_object(
        'line_number', l.line_number, 'kind', l.kind, 'amount', l.amount, 'fee', l.fee, 'currency', l.currency,
        'provider_reference', l.provider_reference, 'occurred_at', l.occurred_at, 'occurred_on', l.occurred_on)
        ORDER BY l.line_number) AS lines
    FROM statement_lines l
    WHERE l.statement_id = ANY(:statements) AND l.our_reference = ANY(:references) AND l.is_settled
    GROUP BY l.statement_id, l.our_reference
""")
_STORE_EVIDENCE = text("""
    -- store: the lines that were accepted as an answer, and the status that they led to
    INSERT INTO statement_evidence (entity_id, merchant_id, store_id, attempt, our_reference, provider, settlement_id,
                                    statement_id, answer, status, amount, lines, at, by)
    SELECT entity_id, merchant_id, store_id, attempt, our_reference, provider, settlement_id, statement_id, answer, status,
           amount, lines, clock_timestamp(), :by
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(entity_id text, merchant_id text, store_id text, attempt integer,
        our_reference text, provider text, settlement_id text, statement_id text, answer text, status text, amount bigint,
        lines jsonb)
""")


@dataclass(frozen=True, slots=True)
class Evidence:
    """An open payment or refund, and the moved lines of one statement that quote its last attempt.

    ``settlement`` is the settlement of the statement. ``is_fetched`` says that the statement comes from the provider's API.
    """

    id: str
    payment_id: str
    bill_id: str | None
    reference: str
    provider: str
    statement_id: str
    stored_at: datetime
    is_fetched: bool
    settlement: SettlementRow
    lines: list[StatementLineFields]


@dataclass(frozen=True, slots=True)
class EvidenceResult:
    """The result for one row: its new status, or ``issue``, the reason why its lines are not an answer.

    Both are ``None`` if the lines had no new information.
    """

    evidence: Evidence
    status: str | None = None
    issue: str | None = None


@dataclass(frozen=True, slots=True)
class _DecidedRow:
    evidence: Evidence
    locked: LockedRow[Any]
    reading: EvidenceReading
    decision: Decision | None = None
    issue: str | None = None


WORKLOADS: Mapping[str, Workload[Any]] = {"payment": PAYMENTS, "refund": REFUNDS}


async def moved_lines(
    connection: AsyncConnection, statement_ids: list[str], references: list[str]
) -> dict[tuple[str, str], list[StatementLineFields]]:
    """Return the lines that moved money, by statement and reference, in the order of the file."""
    found = await connection.execute(_MOVED_LINES, {"statements": statement_ids, "references": references})
    return {(row["statement_id"], row["our_reference"]): row["lines"] for row in found.mappings()}


async def apply_evidence(
    connection: AsyncConnection,
    entity: str,
    evidence: list[Evidence],
    *,
    locking: LockFunction,
    by: str,
    is_confirmed: bool = False,
) -> list[EvidenceResult]:
    """Record outcomes that ``evidence`` proves; return the results of rows that no worker is processing.

    The transaction needs a worker's rights. ``is_confirmed`` says that a person confirmed the lines.
    """
    workload = WORKLOADS[entity]
    bills = await locking(connection, (item.bill_id for item in evidence))
    mine = {item.id: item for item in evidence if item.bill_id in bills}
    payment_ids = [item.payment_id for item in mine.values()] if entity == "refund" else None
    rows = await lock_open_rows(connection, workload, sorted(mine), payment_ids=payment_ids)
    decided = [_decide(entity, mine[locked.claim.id], locked, is_confirmed=is_confirmed) for locked in rows]
    changed = [row for row in decided if row.decision and row.decision.event]
    statuses: dict[str, str] = {}
    if changed:
        claims = await claim_locked(connection, workload, [row.locked for row in changed])
        answered = [
            AnsweredClaim(claim, row.reading.answer, row.decision)
            for claim, row in zip(claims, changed, strict=True)
            if row.decision
        ]
        statuses = await workload.record(connection, answered, worker=by)
        written = [_evidence_row(row, statuses[row.evidence.id]) for row in changed]
        await connection.execute(_STORE_EVIDENCE, {"rows": rows_parameter(written), "by": by})
    return [EvidenceResult(row.evidence, statuses.get(row.evidence.id), row.issue) for row in decided]


def _decide(entity: str, evidence: Evidence, locked: LockedRow[Any], *, is_confirmed: bool) -> _DecidedRow:
    """Read the lines as an answer to the row's last attempt, and decide what follows from it."""
    claim, row = locked.claim, locked.row
    request = AttemptRequest(
        entity, claim.facts.amount, claim.request.currency, row["attempt_provider_reference"], row["sent_at"]
    )
    reading = read_lines(evidence.lines, request, stored_at=evidence.stored_at)
    decision = partial(_DecidedRow, evidence, locked, reading)
    if (claim.request.reference, claim.provider) != (evidence.reference, evidence.provider):
        return decision(issue="Another attempt was made since; wait for its outcome")
    if reading.answer is None:
        return decision(issue=reading.issue)
    issue = _reason_to_reject(evidence, locked, reading.answer, is_confirmed=is_confirmed)
    if issue:
        return decision(issue=issue)
    decided = decide(claim.step, reading.answer, facts=claim.facts, policy=NO_CALLS)
    if decided.status is FinalStatus.COMPLETED:
        decided.code = f"statement {evidence.statement_id}:{reading.lines[0]['line_number']}"
    elif is_confirmed:
        return decision(issue=decided.message)
    return decision(decision=decided)


def _reason_to_reject(
    evidence: Evidence, locked: LockedRow[Any], answer: Succeeded | Withdrawn, *, is_confirmed: bool
) -> str | None:
    """Return why lines that agree with the attempt are not accepted as its answer."""
    if isinstance(answer, Withdrawn):
        if not evidence.is_fetched or is_confirmed:
            return UPLOADED
        return RESENT if _is_later(locked.row["perhaps_resent_at"], evidence) else None
    if _is_later(locked.row["perhaps_undone_at"], evidence):
        return UNDONE
    attempt = locked.claim.facts.attempt
    is_contradicted = attempt is not None and attempt.outcome == "succeeded"
    return CONTRADICTED if is_contradicted and not is_confirmed else None


def _is_later(at: datetime | None, evidence: Evidence) -> bool:
    """Return whether a call at ``at`` may have taken effect after the end of the statement."""
    return at is not None and at + LATE_REVERSAL >= min(evidence.settlement["end_at"], evidence.stored_at)


def _evidence_row(decided: _DecidedRow, status: str) -> dict[str, Any]:
    evidence, claim = decided.evidence, decided.locked.claim
    return {
        "entity_id": evidence.id,
        **{name: evidence.settlement[name] for name in ("merchant_id", "store_id")},
        "attempt": claim.attempt_number,
        "our_reference": evidence.reference,
        "provider": evidence.provider,
        "settlement_id": evidence.settlement["id"],
        "statement_id": evidence.statement_id,
        "answer": decided.reading.answer.name if decided.reading.answer else None,
        "status": status,
        "amount": claim.facts.amount,
        "lines": list(decided.reading.lines),
    }

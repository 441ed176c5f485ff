"""Claim: take the exclusive, expiring right to work on payments, and write down what is about to be asked.

| statement  | takes                                    | leaves                                                  |
|------------|------------------------------------------|---------------------------------------------------------|
| start      | ``pending`` rows                         | ``processing``, attempt 1 unanswered, lease, fence      |
| resume     | ``processing`` rows due, with no lease   | lease, fence                                            |
| write ahead| resumed rows about to be sent (again)    | the attempt that the provider is about to hear of       |
| quarantine | rows whose claims were never answered    | no lease, no due time, a dead letter, ``needs_review``  |

All in one transaction, which ends before any provider is called. A row that another worker holds is skipped, not waited
for: its owner or the sweep will see to it. The fence grows with each claim, so a worker that wakes up late can record
nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database import Role, rows_parameter, transaction
from workflows.ids import new_id
from workflows.payments.decide import NOTHING_MOVED, Attempt, Facts, Step, next_step
from workflows.providers.base import Charge
from workflows.providers.registry import LOCAL

MAX_UNANSWERED_CLAIMS = 3
"""A payment whose worker died this often in a row is quarantined, so that it cannot kill workers for ever."""

_COLUMNS = """p.id, p.fence, p.amount, p.tip_amount, p.currency, p.method_type, p.method_mode, p.provider,
    p.provider_token, p.external_result, p.metadata, p.expires_at, p.cancel_requested_at, p.outcome_known,
    p.in_doubt_since, p.needs_review, p.inquiries, p.unanswered_claims, p.request_id, now() AS now"""

_START = text(f"""
    -- start: every pending payment of the batch becomes processing, with its history, its first attempt and one NOTIFY
    WITH picked AS (
        SELECT id FROM payments WHERE id = ANY(:ids) AND status = 'pending' ORDER BY id FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE payments p
        SET status = 'processing', version = p.version + 1, processing_at = now(), fence = p.fence + 1,
            lease_until = now() + make_interval(secs => :lease), due_at = now() + make_interval(secs => :lease),
            unanswered_claims = 1, attempts = CASE WHEN p.expires_at > now() THEN 1 ELSE 0 END
        FROM picked WHERE p.id = picked.id
        RETURNING {_COLUMNS}, p.version, p.merchant_id, p.store_id, p.attempts
    ), history AS (
        INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                     caller_type, caller_id, request_id)
        SELECT id, version, merchant_id, store_id, 'claim', 'pending', 'processing', now, 'worker', :worker, request_id
        FROM claimed
    ), attempt AS (
        INSERT INTO payment_attempts (payment_id, number, merchant_id, store_id, provider, reference, sent_at)
        SELECT id, 1, merchant_id, store_id, provider, id || '\\:1', now FROM claimed WHERE attempts = 1
    )
    SELECT claimed.*, (SELECT pg_notify('payments', string_agg(id || ':' || version, ' ')) FROM claimed)
    FROM claimed
""")

_RESUME = text(f"""
    -- resume: what is already processing, due and held by nobody, together with its last attempt
    WITH picked AS (
        SELECT id FROM payments
        WHERE id = ANY(:ids) AND status = 'processing' AND due_at <= now()
          AND (lease_until IS NULL OR lease_until <= now())
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE payments p
    SET fence = p.fence + 1, lease_until = now() + make_interval(secs => :lease),
        due_at = now() + make_interval(secs => :lease), unanswered_claims = p.unanswered_claims + 1
    FROM picked LEFT JOIN LATERAL (
        SELECT number, reference, outcome, not_found_at FROM payment_attempts a
        WHERE a.payment_id = picked.id ORDER BY number DESC LIMIT 1
    ) last ON true
    WHERE p.id = picked.id
    RETURNING {_COLUMNS}, last.number AS attempt_number, last.outcome AS attempt_outcome, last.not_found_at
""")

_NEW_ATTEMPTS = text("""
    -- write ahead: the next attempt of payments whose last one certainly moved nothing
    WITH input AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id text, number integer)),
    counted AS (
        UPDATE payments p SET attempts = i.number FROM input i WHERE p.id = i.id
        RETURNING p.id, p.merchant_id, p.store_id, p.provider, i.number
    )
    INSERT INTO payment_attempts (payment_id, number, merchant_id, store_id, provider, reference, sent_at)
    SELECT id, number, merchant_id, store_id, provider, id || ':' || number, now() FROM counted
""")

_RESENDS = text("""
    -- write ahead: the same reference once more, after it was proven not to have arrived
    UPDATE payment_attempts a SET outcome = NULL, answered_at = NULL, not_found_at = NULL, resends = a.resends + 1
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id text, number integer)
    WHERE a.payment_id = r.id AND a.number = r.number
""")

_QUARANTINE = text("""
    -- quarantine: nobody looks at these again until an operator requeues them
    WITH input AS (SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id text, letter text)),
    stopped AS (
        UPDATE payments p SET due_at = NULL, lease_until = NULL, needs_review = true, outcome_known = false,
               in_doubt_since = coalesce(p.in_doubt_since, now()), version = p.version + 1
        FROM input i WHERE p.id = i.id
        RETURNING p.id, p.version, p.merchant_id, p.store_id, p.status, p.request_id, p.unanswered_claims, i.letter
    ), history AS (
        INSERT INTO payment_history (payment_id, version, merchant_id, store_id, event, from_status, to_status, at,
                                     caller_type, caller_id, reason, request_id)
        SELECT id, version, merchant_id, store_id, 'request_review', status, status, now(), 'worker', :worker,
               'quarantined', request_id FROM stopped
    ), told AS (SELECT pg_notify('payments', id || ':' || version) FROM stopped)
    INSERT INTO dead_letters (id, task, arguments, payment_id, deliveries, reason, created_at)
    SELECT letter, 'payments.process', jsonb_build_array(jsonb_build_array(id)), id, unanswered_claims - 1,
           'its worker died or stopped answering each time it was claimed', now()
    FROM stopped, (SELECT count(*) FROM told) AS t
""")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A payment this worker may work on, until its lease ends."""

    id: str
    fence: int
    provider: str
    step: Step
    attempt_number: int
    charge: Charge
    facts: Facts
    request_id: str | None


async def claim_payments(payment_ids: list[str], *, worker: str, lease_seconds: float) -> list[Claimed]:
    """Claim those of ``payment_ids`` that are free and due; the rest is somebody else's, final, or not due yet.

    Raises ``ServiceUnavailable`` where the database is away: nothing is claimed then, and the sweep will nudge again.
    """
    parameters = {"ids": payment_ids, "lease": lease_seconds, "worker": worker}
    async with transaction(Role.WORKER) as connection:
        started = (await connection.execute(_START, parameters)).mappings().all()
        claimed = [_claimed(dict(row), attempt=None) for row in started]
        if len(claimed) < len(payment_ids):
            resumed = (await connection.execute(_RESUME, parameters)).mappings().all()
            poisoned = [row["id"] for row in resumed if row["unanswered_claims"] > MAX_UNANSWERED_CLAIMS]
            again = [_resumed(dict(row)) for row in resumed if row["id"] not in poisoned]
            await _write_ahead(connection, again)
            if poisoned:
                rows = [{"id": payment_id, "letter": new_id("dead_letter")} for payment_id in poisoned]
                await connection.execute(_QUARANTINE, {"rows": rows_parameter(rows), "worker": worker})
            claimed += again
    return claimed


async def _write_ahead(connection: AsyncConnection, claimed: list[Claimed]) -> None:
    new = [_key(c) for c in claimed if c.step is Step.CHARGE and _needs_new_attempt(c.facts.attempt)]
    if new:
        await connection.execute(_NEW_ATTEMPTS, {"rows": rows_parameter(new)})
    resent = [_key(c) for c in claimed if c.step is Step.RESEND]
    if resent:
        await connection.execute(_RESENDS, {"rows": rows_parameter(resent)})


def _key(claimed: Claimed) -> dict[str, Any]:
    return {"id": claimed.id, "number": claimed.attempt_number}


def _needs_new_attempt(attempt: Attempt | None) -> bool:
    return attempt is None or attempt.outcome in NOTHING_MOVED


def _resumed(row: dict[str, Any]) -> Claimed:
    number: int | None = row["attempt_number"]
    attempt = None
    if number is not None:
        not_found_at: datetime | None = row["not_found_at"]
        attempt = Attempt(number, row["attempt_outcome"], not_found_at)
    return _claimed(row, attempt=attempt)


def _claimed(row: dict[str, Any], *, attempt: Attempt | None) -> Claimed:
    facts = Facts(
        amount=row["amount"] + row["tip_amount"],
        now=row["now"],
        expires_at=row["expires_at"],
        cancel_requested=row["cancel_requested_at"] is not None,
        is_local=row["provider"] in LOCAL,
        attempt=attempt,
        outcome_known=row["outcome_known"],
        in_doubt_since=row["in_doubt_since"],
        needs_review=row["needs_review"],
        inquiries=row["inquiries"],
    )
    step = next_step(facts)
    number = attempt.number if attempt else 0
    if step is Step.CHARGE and _needs_new_attempt(attempt):
        number += 1
    charge = Charge(
        reference=f"{row['id']}:{number}",
        payment_id=row["id"],
        amount=facts.amount,
        currency=row["currency"],
        method_type=row["method_type"],
        method_mode=row["method_mode"],
        expires_at=row["expires_at"],
        metadata=row["metadata"],
        facts={"provider_token": row["provider_token"], "external_result": row["external_result"]},
    )
    return Claimed(row["id"], row["fence"], row["provider"], step, number, charge, facts, row["request_id"])

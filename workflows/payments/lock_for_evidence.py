"""Lock rows that are not final, to record an answer that no worker asked for: a line of a provider's statement.

A worker claims a row by a lease, asks its provider and records the answer (``leases``). Here the answer is already known, so
one transaction claims and records. Nothing is left incomplete if the process dies, and rows that are never due (quarantined,
or waiting for a review) are reached too. The fence grows as with any claim, so a worker that continues later records nothing.

| row                                                  | what happens                                                    |
|------------------------------------------------------|-----------------------------------------------------------------|
| has a lease, because a worker is processing it       | left to that worker                                             |
| locked by another transaction                        | left to that transaction                                        |
| its last attempt certainly moved nothing             | left alone: it is sent again within seconds, or has failed      |
| anything else in ``processing``                      | locked                                                          |

All code locks bills first, then payments, then refunds. The calling function has locked the bills.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, cast

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.processing.leases import Claim, LeaseTable, RequestT
from workflows.processing.next_step import NOTHING_MOVED, Attempt, Step
from workflows.processing.rows import ClaimedRow
from workflows.processing.shared_statements import LEASE_COLUMNS

LEASE_SECONDS = 60.0
"""Lease of a locked row. Its length does not matter, because the lease ends with the transaction."""

_LOCK_PAYMENTS = text("SELECT id FROM payments WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
_LOCK = """
    -- lock: rows that are not final and have no lease. Locking is a separate statement, so that the next one reads the rows as
    -- they are after the lock.
    SELECT id FROM {entity}s
    WHERE id = ANY(:ids) AND status = 'processing' AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY id FOR UPDATE SKIP LOCKED
"""
_READ = """
    -- read: locked rows with their last attempts, and when a call may have moved money, or moved it back, without an answer
    SELECT {columns}, r.store_id, a.number AS attempt_number, a.outcome AS attempt_outcome, a.not_found_at,
           a.sent_at, a.provider_reference AS attempt_provider_reference, {undone} AS perhaps_undone_at,
           {resent} AS perhaps_resent_at,
           (SELECT sum(resends) FROM {entity}_attempts s WHERE s.{entity}_id = r.id) AS resends
    FROM {entity}s r JOIN {entity}_attempts a ON a.{entity}_id = r.id AND a.number = r.attempts
    WHERE r.id = ANY(:ids) AND coalesce(a.outcome, '') <> ALL (CAST(:nothing_moved AS text[]))
    ORDER BY r.id
"""
_UNWANTED = """(r.cancel_requested_at IS NOT NULL
                   OR (r.expires_at <= now() AND a.outcome IN ('action_required', 'not_found')))"""
_QUARANTINED = """(SELECT max(h.at) FROM {entity}_history h WHERE h.{entity}_id = r.id AND h.reason = 'quarantined')"""
"""SQL: when the row was last quarantined. It is read from the history, because a requeue resets the unanswered claims."""

_LOST_CALL_UNTIL = f"CASE WHEN r.due_at IS NULL THEN coalesce({_QUARANTINED}, now()) ELSE now() END"
"""SQL: the latest time at which a worker that died may have called the provider: the quarantine, or now."""

_UNDONE = {
    "payment": f"""greatest(
        (SELECT max(m.at) FROM payment_messages m WHERE m.payment_id = r.id AND m.answer IN ('unknown', 'withdrawn')
         AND m.kind IN ('withdrawal', 'reversal', 'late_answer')),
        CASE WHEN {_UNWANTED} THEN {_QUARANTINED} END,
        CASE WHEN {_UNWANTED} AND r.unanswered_claims > 0 THEN {_LOST_CALL_UNTIL} END)""",
    "refund": "CAST(NULL AS timestamptz)",  # a refund is never withdrawn
}
"""SQL: the latest time at which a withdrawal or reversal may have been requested; null if none was."""

_RESENT = f"""CASE WHEN a.resends > 0 THEN coalesce(
        a.answered_at, CASE WHEN r.due_at IS NULL THEN {_QUARANTINED} END, now()) END"""
"""SQL: the latest time at which the reference may have been sent again; null if it was not. If the charge was undone before
that, it may have been charged again."""

_CLAIM_LOCKED = (
    "UPDATE {entity}s SET fence = fence + 1, lease_until = now() + make_interval(secs => :lease) WHERE id = ANY(:ids)"
)


class LockedRowColumns(ClaimedRow):
    """A row of ``_READ``. The last two columns are the latest times at which money may have moved back, or moved again."""

    attempt_number: int
    attempt_outcome: str | None
    not_found_at: datetime | None
    resends: int
    sent_at: datetime
    attempt_provider_reference: str | None
    perhaps_undone_at: datetime | None
    perhaps_resent_at: datetime | None


@dataclass(frozen=True, slots=True)
class LockedRow(Generic[RequestT]):
    """A locked row: its claim, and the columns of ``_READ``, some of which a claim does not have."""

    claim: Claim[RequestT]
    row: LockedRowColumns


async def lock_open_rows(
    connection: AsyncConnection, table: LeaseTable[RequestT], ids: list[str], *, payment_ids: list[str] | None = None
) -> list[LockedRow[RequestT]]:
    """Lock those of ``ids`` that are in ``processing`` without a lease.

    Return them, except those whose last attempt certainly moved nothing.

    The transaction must have locked their bills. ``payment_ids`` are the payments of refunds, which are locked first.
    """
    if payment_ids:
        await connection.execute(_LOCK_PAYMENTS, {"ids": sorted(set(payment_ids))})
    lock, read = _statement(_LOCK, table), _statement(_READ, table)
    free = list((await connection.execute(lock, {"ids": ids})).scalars())
    if not free:
        return []
    parameters = {"ids": free, "nothing_moved": sorted(NOTHING_MOVED)}
    rows = [cast(LockedRowColumns, dict(row)) for row in (await connection.execute(read, parameters)).mappings()]
    return [LockedRow(_claim(table, row), row) for row in rows]


async def claim_locked(
    connection: AsyncConnection, table: LeaseTable[RequestT], locked: list[LockedRow[RequestT]]
) -> list[Claim[RequestT]]:
    """Claim locked rows for the rest of the transaction, and return the claims."""
    parameters = {"ids": [row.claim.id for row in locked], "lease": LEASE_SECONDS}
    await connection.execute(_statement(_CLAIM_LOCKED, table), parameters)
    return [replace(row.claim, fence=row.claim.fence + 1) for row in locked]


def _claim(table: LeaseTable[RequestT], row: LockedRowColumns) -> Claim[RequestT]:
    attempt = Attempt(row["attempt_number"], row["attempt_outcome"], row["not_found_at"], int(row["resends"]))
    return replace(table.build(row, attempt), step=Step.STATEMENT, attempt_number=attempt.number)


_rendered: dict[tuple[str, str], TextClause] = {}


def _statement(template: str, table: LeaseTable[Any]) -> TextClause:
    """Return ``template`` for ``table``, rendered once.

    Only our own names are filled in; values are bound parameters.
    """
    key = (table.entity, template)
    if key not in _rendered:
        columns = f"{LEASE_COLUMNS}, {table.columns}"
        filled = {"columns": columns, "undone": _UNDONE[table.entity], "resent": _RESENT}
        filled = {name: part.format(entity=table.entity) for name, part in filled.items()}
        _rendered[key] = text(template.format(entity=table.entity, **filled))
    return _rendered[key]

"""Refuse corrections for money that our books contain or will contain.

| what the break's line quotes                                 | ``adjust`` and ``write_off``                     |
|--------------------------------------------------------------|--------------------------------------------------|
| nothing of ours, or a payment that moved no money            | allowed                                          |
| a payment or refund that is not final                        | 409: wait; a run repeats when it is final        |
| one that is completed and in this settlement (a pair, a second line) | allowed: the difference is not in the books |
| a refund of this settlement without a line on the statements | 409: link to it                                  |
| one that is completed elsewhere, in any store and period     | 409: link to it                                  |
| the same, but an earlier correction took it out of our books | allowed: the books no longer have it             |
| nothing of ours, but the line was booked for another settlement | 409: ignore it and give that as the reason    |

| a break of our line alone                                    | ``adjust`` and ``write_off``                     |
|--------------------------------------------------------------|--------------------------------------------------|
| another settlement's statement reported it                   | 409: link to the break there                     |
| no statement of its provider was compared                    | 409: upload the statement                        |

The calling transaction has locked the settlement and read the break under the lock. A final status never changes, and a
payment that is not final is refused, so no later change of a payment can make the decision wrong.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidStatusTransition
from workflows.reconciliation.find_in_our_books import REPEATED_REFERENCES, QuotedEntity, find_quoted, refunds_of
from workflows.reconciliation.models import BreakRow, OurLine, TheirLine
from workflows.settlements.models import SettlementRow

_REPORTED = text("""
    -- reported: a break without a line of ours, in the last run of another settlement of the store near this one
    SELECT b.id, b.settlement_id FROM settlements s
    JOIN breaks b ON b.settlement_id = s.id
    WHERE s.store_id = :store_id AND s.id <> :id AND s.end_at > CAST(:start_at AS timestamptz) - interval '31 days'
      AND s.start_at < CAST(:end_at AS timestamptz) + interval '31 days'
      AND b.provider = :provider AND b.our_line IS NULL AND b.resolution IS DISTINCT FROM 'adjust'
      AND b.resolution IS DISTINCT FROM 'write_off' AND b.difference = -CAST(:difference AS bigint)
      AND (b.our_reference = :our_reference OR b.provider_reference = :provider_reference)
      AND b.run = (SELECT max(number) FROM reconciliation_runs r WHERE r.settlement_id = s.id)
    LIMIT 1
""")
_ALONE = text("""
    -- alone: refunds of this settlement without a line on its statements and without a break linked to them
    SELECT r.id FROM refunds r WHERE r.id = ANY(:refunds)
      AND NOT EXISTS (SELECT FROM reconciliation_runs n JOIN statement_lines l ON l.statement_id = ANY (n.statement_ids)
                      WHERE n.settlement_id = :id AND n.number = :run AND l.kind = 'refund' AND l.is_settled
                        AND (split_part(l.our_reference, ':', 1) = r.id OR l.provider_reference = r.provider_reference))
      AND NOT EXISTS (SELECT FROM breaks b WHERE b.settlement_id = :id AND b.run = :run AND b.id <> :break_id
                      AND b.resolution = 'link' AND (b.reference = r.id OR b.entity_id = r.id))
""")
_ONE_CORRECTION = text("SELECT pg_advisory_xact_lock(hashtextextended('correct ' || :merchant_id || :provider, 0))")
_BOOKED = text("""
    -- booked: a correction in force for the same line of theirs in a file of another settlement. If the provider repeats
    -- references, the amount and the day have to be the same too.
    SELECT b.id, b.settlement_id FROM settlements s
    JOIN breaks b ON b.settlement_id = s.id
    JOIN settlement_lines l ON l.kind = 'adjustment' AND l.entity_id = coalesce(b.reference, b.other_reference)
    WHERE s.merchant_id = :merchant_id AND s.id <> :id AND s.end_at > CAST(:start_at AS timestamptz) - interval '31 days'
      AND s.start_at < CAST(:end_at AS timestamptz) + interval '31 days'
      AND b.provider = :provider AND b.kind = :kind AND b.our_line IS NULL AND b.resolution IN ('adjust', 'write_off')
      AND (b.our_reference = :our_reference OR b.provider_reference = :provider_reference)
      AND l.amount = CASE WHEN b.reference IS NOT NULL THEN b.fee_difference - b.difference
          ELSE CAST(b.their_line ->> 'amount' AS bigint) - coalesce(CAST(b.their_line ->> 'fee' AS bigint), 0) END
      AND (NOT :is_repeating OR (
          CAST(b.their_line ->> 'amount' AS bigint) = :amount
          AND coalesce(b.their_line ->> 'occurred_at' = :occurred_at, true)
          AND coalesce(b.their_line ->> 'occurred_on' = :occurred_on, true)))
    LIMIT 1
""")
_REPORTED_HERE = text("""
    -- reported here: an open break of this settlement for a line of theirs alone, of this amount, that quotes the sale
    SELECT b.id FROM settlement_lines l LEFT JOIN payments p ON p.id = l.payment_id
    LEFT JOIN settlement_lines sale ON sale.kind = 'payment' AND sale.entity_id = l.payment_id -- stays if it is archived
    JOIN breaks b ON b.settlement_id = :id AND b.run = :run
    WHERE l.kind = 'refund' AND l.entity_id = :entity_id AND b.our_line IS NULL AND b.resolution IS NULL
      AND b.difference = -CAST(:difference AS bigint)
      AND (split_part(b.our_reference, ':', 1) = l.payment_id
           OR b.provider_reference = coalesce(p.provider_reference, sale.provider_reference))
    ORDER BY b.id LIMIT 1
""")
_WAS_COMPARED = text("""
    SELECT EXISTS (SELECT FROM reconciliation_runs r JOIN statements t ON t.id = ANY (r.statement_ids)
                   WHERE r.settlement_id = :id AND r.number = :run AND t.provider = :provider)
""")


async def find_quoted_elsewhere(
    connection: AsyncConnection, found: BreakRow, settlement: SettlementRow
) -> list[QuotedEntity]:
    """Return the quoted payments and refunds outside this settlement that are open or have moved money.

    Refunds of this settlement that no line of the statements is about are included.
    """
    theirs, ours = found["their_line"], found["our_line"]
    quoted: list[QuotedEntity] = []
    if theirs and theirs["moved"]:
        quoted = await find_quoted(connection, theirs, provider=found["provider"], settlement=settlement)
        quoted = [entity for entity in quoted if entity.by_our_reference or _is_unambiguous(entity, found, theirs)]
    if ours and found["category"] == "status_mismatch" and found["kind"] == "payment":
        # The provider reversed the charge. That may be a refund of ours, which is or will be a line of another period.
        quoted += await refunds_of(connection, [ours["entity_id"]], amount=-ours["amount"], settlement=settlement)
    quoted = [entity for entity in quoted if entity.id != (ours and ours["entity_id"])]
    here = [entity.id for entity in quoted if entity.kind == "refund" and entity.settlement_id == settlement["id"]]
    refunds = {"id": settlement["id"], "run": found["run"], "break_id": found["id"], "refunds": here}
    alone = set((await connection.execute(_ALONE, refunds)).scalars()) if here else set()
    return [
        entity
        for entity in quoted
        if entity.is_open or (entity.has_moved and (entity.settlement_id != settlement["id"] or entity.id in alone))
    ]


def _is_unambiguous(entity: QuotedEntity, found: BreakRow, theirs: TheirLine) -> bool:
    """Return whether a line with only the provider's reference certainly quotes this payment or refund.

    It does if the provider uses a reference once and the line has no counterpart, or if amount and currency agree.
    """
    is_unique = found["our_line"] is None and entity.provider not in REPEATED_REFERENCES
    return is_unique or (entity.amount, entity.currency) == (theirs["amount"], theirs["currency"])


async def require_correctable(connection: AsyncConnection, found: BreakRow, settlement: SettlementRow) -> str | None:
    """Return the id of the payment that the correction of a break is about, if there is one.

    Raises ``InvalidStatusTransition`` if the correction must not be booked.
    """
    quoted = await find_quoted_elsewhere(connection, found, settlement)
    refuse_open(quoted)
    booked_already = [entity for entity in quoted if entity.is_in_books]
    if booked_already:
        raise resolution_error(
            f"The line quotes {booked_already[0].id}, which is {booked_already[0].status} and in our books"
            f" ({booked_already[0].settlement_id or 'in the next settlement'}"
            f"{', archived' if booked_already[0].is_archived else ''}); link to it"
        )
    ours, theirs = found["our_line"], found["their_line"]
    if ours and not theirs:
        await _refuse_unreported(connection, found, ours, settlement)
    if theirs and not ours:
        await _refuse_booked(connection, found, theirs, settlement)
    return quoted[0].payment_id if quoted else None


def refuse_open(quoted: list[QuotedEntity]) -> None:
    """Raise ``InvalidStatusTransition`` if one of ``quoted`` is not final."""
    waiting = next((entity for entity in quoted if entity.is_open), None)
    if waiting:
        raise resolution_error(
            f"The line quotes {waiting.id}, which is {waiting.status}. Wait until it is final; this settlement is then"
            " compared again automatically. If the line is right, confirm the outcome (resolution confirm)"
        )


async def _refuse_unreported(
    connection: AsyncConnection, found: BreakRow, ours: OurLine, settlement: SettlementRow
) -> None:
    """Raise if a statement reported our line after all, or if no statement of its provider was compared."""
    columns = {name: found[name] for name in ("provider", "our_reference", "provider_reference", "difference", "run")}
    period = {name: settlement[name] for name in ("id", "store_id", "start_at", "end_at")}
    reported = (await connection.execute(_REPORTED, {**columns, **period})).mappings().one_or_none()
    if reported:
        raise resolution_error(
            f"A statement of {reported['settlement_id']} reported it; link to its break {reported['id']}"
        )
    line = {"entity_id": ours["entity_id"]}
    here = (await connection.execute(_REPORTED_HERE, {**columns, **period, **line})).scalar_one_or_none()
    if here:
        raise resolution_error(f"The statement reports a refund of this sale; link to its break {here}")
    if not (await connection.execute(_WAS_COMPARED, {**columns, **period})).scalar_one():
        raise resolution_error(f"No statement of {found['provider']} was compared; upload one and reconcile again")


async def _refuse_booked(
    connection: AsyncConnection, found: BreakRow, theirs: TheirLine, settlement: SettlementRow
) -> None:
    """Raise if the provider's line was already booked for another settlement.

    That happens if a file lists several days or stores.
    """
    columns = {name: found[name] for name in ("provider", "kind", "our_reference", "provider_reference")}
    line = {name: theirs[name] for name in ("amount", "occurred_at", "occurred_on")}
    period = {name: settlement[name] for name in ("id", "merchant_id", "start_at", "end_at")}
    await connection.execute(
        _ONE_CORRECTION, {name: {**columns, **period}[name] for name in ("merchant_id", "provider")}
    )
    is_repeating = found["provider"] in REPEATED_REFERENCES
    parameters = {**columns, **line, **period, "is_repeating": is_repeating}
    booked = (await connection.execute(_BOOKED, parameters)).mappings().one_or_none()
    if booked:
        raise resolution_error(
            f"The same line was booked for {booked['settlement_id']} ({booked['id']}); ignore this break and say so"
        )


def resolution_error(issue: str) -> InvalidStatusTransition:
    """Return the error for a resolution that is not allowed now; ``issue`` says why, and what to do."""
    return InvalidStatusTransition(Detail("resolution", issue), message="This break cannot be resolved in this way")

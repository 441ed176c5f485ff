"""Find our payments and refunds that a statement's line quotes.

A line is about an entity of ours if it quotes our reference (an attempt's, ``pay_…:1``), or the provider's reference that we
recorded for it. The provider's reference is searched only among payments within ``AROUND`` of the period, because an index on
it would slow down every payment.

For one break (``find_quoted``), all stores of the merchant are searched, because one file may cover several of them:

| the line is about | it quotes                                                                                            |
|-------------------|------------------------------------------------------------------------------------------------------|
| a payment         | the payment                                                                                          |
| a refund          | the refund; under its sale's reference, the sale's refunds of that amount                            |
| a reversal        | the payment while it is open; else its refunds of that amount, because a reversal may be one of them |

A payment of an archived month is found by its settlement line, which stays (``find_archived``).

For all lines of a run without a pair (``their_rest`` of ``match``), only the settlement's store is searched:

| column       | set for lines that quote                                                                                |
|--------------|---------------------------------------------------------------------------------------------------------|
| ``known``     | an attempt of this store, by our reference: whether it moved money                                      |
| ``elsewhere`` | a payment or refund of another period, by the provider's reference: whether it moved money              |
| ``waits_for`` | a payment or refund that is not final, by either reference; the run is repeated when it is final        |
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.reconciliation.find_archived import (
    ARCHIVED_BY_OURS,
    ARCHIVED_BY_THEIRS,
    CORRECTIONS,
    KNOWN_ARCHIVED,
    mark_archived_elsewhere,
)
from workflows.reconciliation.models import TheirLine
from workflows.settlements.models import SettlementRow

AROUND = timedelta(days=31)

REPEATED_REFERENCES = frozenset({"external"})
"""Providers whose reference may be a slip number, which terminals use several times; the amount has to agree as well."""

OPEN = frozenset({"pending", "processing"})
MOVED = frozenset({"completed", "refunded"})
NOT_MOVED = ("declined", "unavailable", "withdrawn", "not_found")
"""Outcomes of an attempt that moved no money; another attempt of the same payment may have moved it."""


@dataclass(frozen=True, slots=True)
class QuotedEntity:
    """A payment or refund of ours that a line quotes.

    ``amount`` is signed; ``corrections`` is the sum of the adjustments booked for it so far.
    """

    kind: str
    id: str
    payment_id: str
    store_id: str
    provider: str
    currency: str
    amount: int
    fee: int
    status: str
    settlement_id: str | None
    attempt_moved: bool
    by_our_reference: bool
    corrections: int
    is_archived: bool = False

    @property
    def is_open(self) -> bool:
        """Whether its status is not final."""
        return self.status in OPEN

    @property
    def has_moved(self) -> bool:
        """Whether it moved money, and so is in the books or will be after the next close."""
        return self.status in MOVED and self.attempt_moved

    @property
    def is_in_books(self) -> bool:
        """Whether it is still in the books after the corrections booked for it."""
        return (self.amount + self.corrections) * self.amount > 0


_PAYMENT = f"""SELECT 'payment' AS kind, p.id, p.id AS payment_id, p.store_id, p.provider, p.currency,
           p.amount + p.tip_amount AS amount, p.fee, p.status, p.settlement_id,
           coalesce(a.outcome <> ALL (CAST(:not_moved AS text[])), true) AS attempt_moved,
           {{how}} AS by_our_reference,
           {CORRECTIONS.format(payment="p.id", entity="p.id", entity_currency="p.currency")} AS corrections,
           false AS is_archived"""
_REFUND = f"""SELECT 'refund' AS kind, r.id, r.payment_id, r.store_id, r.provider, r.currency, -r.amount AS amount, r.fee,
           r.status, r.settlement_id, coalesce(a.outcome <> ALL (CAST(:not_moved AS text[])), true) AS attempt_moved,
           {{how}} AS by_our_reference,
           {CORRECTIONS.format(payment="r.payment_id", entity="r.id", entity_currency="r.currency")} AS corrections,
           false AS is_archived"""

_BY_OURS = text(f"""
    -- quoted by our reference, which begins with the entity's id (a CHECK of the attempts)
    {_PAYMENT.format(how="true")}
    FROM payments p LEFT JOIN payment_attempts a ON a.reference = :our_reference AND a.payment_id = p.id
    WHERE p.merchant_id = :merchant_id AND p.id = split_part(:our_reference, ':', 1)
    UNION ALL
    {_REFUND.format(how="true")}
    FROM refunds r LEFT JOIN refund_attempts a ON a.reference = :our_reference AND a.refund_id = r.id
    WHERE r.merchant_id = :merchant_id AND r.id = split_part(:our_reference, ':', 1)
    UNION ALL {ARCHIVED_BY_OURS}
""")
_STORES = "ANY (ARRAY(SELECT id FROM stores WHERE merchant_id = :merchant_id))"
_BY_THEIRS = text(f"""
    -- quoted by the provider's reference: ids begin with their timestamp, so the store's index limits the search
    {_PAYMENT.format(how="false")}
    FROM payments p LEFT JOIN payment_attempts a ON a.payment_id = p.id AND a.number = p.attempts
    WHERE p.store_id = {_STORES} AND p.id BETWEEN 'pay_' || :since AND 'pay_' || :until
      AND p.provider = :provider AND p.provider_reference = :provider_reference
    UNION ALL
    {_REFUND.format(how="false")}
    FROM refunds r LEFT JOIN refund_attempts a ON a.refund_id = r.id AND a.number = r.attempts
    WHERE r.store_id = {_STORES} AND r.id BETWEEN 'rfd_' || :since AND 'rfd_' || :until
      AND r.provider = :provider AND r.provider_reference = :provider_reference
    UNION ALL {ARCHIVED_BY_THEIRS}
""")
_REFUNDS_OF = text(f"""
    -- refunds of these payments with this amount
    {_REFUND.format(how="true")}
    FROM refunds r LEFT JOIN refund_attempts a ON a.refund_id = r.id AND a.number = r.attempts
    WHERE r.payment_id = ANY(:payment_ids) AND r.merchant_id = :merchant_id AND r.amount = -CAST(:amount AS bigint)
""")


async def find_quoted(
    connection: AsyncConnection, line: TheirLine, *, provider: str, settlement: SettlementRow
) -> list[QuotedEntity]:
    """Return the payments and refunds that a break's ``their_line`` quotes, by the table above."""
    common = {"merchant_id": settlement["merchant_id"], "provider": provider, "not_moved": list(NOT_MOVED)}
    found: list[QuotedEntity] = []
    if line["our_reference"]:
        found = await _find(connection, _BY_OURS, {**common, "our_reference": line["our_reference"]})
    if not found and line["provider_reference"]:
        window = {
            "since": _prefix(settlement["start_at"] - AROUND),
            "until": _prefix(settlement["end_at"] + AROUND),
            "since_at": settlement["start_at"] - AROUND,
            "until_at": settlement["end_at"] + AROUND,
        }
        found = await _find(
            connection, _BY_THEIRS, {**common, **window, "provider_reference": line["provider_reference"]}
        )
    if line["kind"] == "payment":
        return [entity for entity in found if entity.kind == "payment"]
    refunds = [entity for entity in found if entity.kind == "refund"]
    payments = [entity.payment_id for entity in found if entity.kind == "payment"]
    if payments and not refunds:
        refunds = await refunds_of(connection, payments, amount=line["amount"], settlement=settlement)
    return [*refunds, *(entity for entity in found if entity.kind == "payment" and entity.is_open)]


async def refunds_of(
    connection: AsyncConnection, payment_ids: list[str], *, amount: int, settlement: SettlementRow
) -> list[QuotedEntity]:
    """Return the refunds of these payments whose signed amount (below zero) is ``amount``."""
    common = {"merchant_id": settlement["merchant_id"], "not_moved": list(NOT_MOVED)}
    return await _find(connection, _REFUNDS_OF, {**common, "payment_ids": payment_ids, "amount": amount})


async def _find(connection: AsyncConnection, statement: Any, parameters: dict[str, Any]) -> list[QuotedEntity]:
    return [QuotedEntity(**row) for row in (await connection.execute(statement, parameters)).mappings()]


def _prefix(at: Any) -> str:
    """Return the prefix of ids that are created at a timestamp (UUID version 7)."""
    return f"{int(at.timestamp() * 1_000):012x}"


_MARK_KNOWN = (
    text("""
        -- known: attempts of this store that their lines quote; a successful one is, or will be, in another period's line
        UPDATE their_rest t
        SET known = CASE WHEN a.outcome = 'succeeded' AND p.status IN ('completed', 'refunded') THEN 'moved' ELSE 'other' END
        FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
        WHERE t.kind <> 'refund' AND a.payment_id = split_part(t.our_reference, ':', 1)
          AND a.reference = t.our_reference AND a.store_id = :store_id
    """),
    text("""
        UPDATE their_rest t
        SET known = CASE WHEN a.outcome = 'succeeded' AND r.status = 'completed' THEN 'moved' ELSE 'other' END
        FROM refund_attempts a JOIN refunds r ON r.id = a.refund_id
        WHERE t.kind = 'refund' AND a.refund_id = split_part(t.our_reference, ':', 1)
          AND a.reference = t.our_reference AND a.store_id = :store_id
    """),
    text("""
        UPDATE their_rest t SET known = 'moved' FROM ours o
        WHERE t.known IS NULL AND o.our_reference = t.our_reference AND o.provider = t.provider
          AND o.kind = CASE t.kind WHEN 'refund' THEN 'refund' ELSE 'payment' END
    """),
    KNOWN_ARCHIVED,
)
_FIRST_ID = "'{prefix}_' || lpad(to_hex(CAST(extract(epoch FROM {at}) * 1000 AS bigint)), 12, '0')"


def _created_near(entity: str, prefix: str) -> str:
    """Return the SQL condition that ``entity`` was created near the period of ``s``, as its id says."""
    since = _FIRST_ID.format(prefix=prefix, at="s.start_at - interval '31 days'")
    until = _FIRST_ID.format(prefix=prefix, at="s.end_at + interval '31 days'")
    return f"{entity}.id BETWEEN {since} AND {until}"


_MARK_ELSEWHERE = text(f"""
    -- elsewhere: lines that quote no reference of ours, by the provider's reference; ids begin with their timestamp
    UPDATE their_rest t SET elsewhere = e.known
    FROM settlements s, LATERAL (
        SELECT p.provider, p.provider_reference, 'payment' AS kind, max(CASE WHEN p.status IN ('completed', 'refunded')
            THEN 'moved' ELSE 'other' END) AS known
        FROM payments p WHERE p.store_id = s.store_id AND {_created_near("p", "pay")}
          AND p.provider_reference IS NOT NULL AND p.settlement_id IS DISTINCT FROM s.id GROUP BY 1, 2
        UNION ALL
        SELECT r.provider, r.provider_reference, 'refund', max(CASE WHEN r.status = 'completed' THEN 'moved' ELSE 'other' END)
        FROM refunds r WHERE r.store_id = s.store_id AND {_created_near("r", "rfd")}
          AND r.provider_reference IS NOT NULL AND r.settlement_id IS DISTINCT FROM s.id GROUP BY 1, 2
    ) e
    WHERE s.id = :id AND t.known IS NULL AND t.provider_reference = e.provider_reference AND t.provider = e.provider
      AND t.kind = e.kind AND NOT (t.provider = ANY(:repeating))
""")
_MARK_WAITING_ELSEWHERE = tuple(
    text(f"""
        -- waiting: payments and refunds that are not final, by the provider's reference
        UPDATE theirs t SET waits_for = e.id
        FROM settlements s JOIN {entity}s e ON e.store_id = s.store_id AND {_created_near("e", prefix)}
        JOIN their_rest rest ON rest.provider_reference = e.provider_reference AND rest.provider = e.provider
        WHERE s.id = :id AND t.id = rest.id AND rest.has_moved AND rest.elsewhere = 'other'
          AND e.status IN ('pending', 'processing')
    """)
    for entity, prefix in (("payment", "pay"), ("refund", "rfd"))
)
_SOME_UNKNOWN = text("""
    SELECT EXISTS (SELECT FROM their_rest WHERE known IS NULL AND provider_reference IS NOT NULL AND has_moved)
""")
_MARK_WAITING = tuple(
    text(f"""
        -- waiting: payments and refunds that are not final, by our reference
        UPDATE theirs t SET waits_for = e.id
        FROM their_rest rest JOIN {entity}s e ON e.id = split_part(rest.our_reference, ':', 1)
        WHERE t.id = rest.id AND rest.has_moved AND e.store_id = :store_id AND e.status IN ('pending', 'processing')
    """)
    for entity in ("payment", "refund")
)


async def mark_known_attempts(connection: AsyncConnection, parameters: dict[str, Any]) -> None:
    """Set ``known`` of lines that quote an attempt of ours: ``moved``, or ``other`` if no money moved."""
    for statement in _MARK_KNOWN:
        await connection.execute(statement, parameters)


async def mark_other_periods(connection: AsyncConnection, parameters: dict[str, Any]) -> None:
    """Set ``elsewhere`` and ``waits_for`` of lines without a pair.

    ``elsewhere`` is set if another period explains the line, ``waits_for`` to the payment or refund that is not final.
    """
    if (await connection.execute(_SOME_UNKNOWN)).scalar_one():
        of_stores = {**parameters, "repeating": sorted(REPEATED_REFERENCES)}
        await connection.execute(_MARK_ELSEWHERE, of_stores)
        await mark_archived_elsewhere(connection, of_stores)
        for statement in _MARK_WAITING_ELSEWHERE:
            await connection.execute(statement, parameters)
    for statement in _MARK_WAITING:
        await connection.execute(statement, parameters)

"""Find the payments and refunds that a statement's line quotes, and the corrections booked for them.

A line is about an entity of ours if it quotes our reference (an attempt's, ``pay_…:1``), or the provider's own reference that
we recorded. All stores of the merchant are searched, because one file may cover several of them. The provider's reference is
searched only among payments within ``AROUND`` of the period, because an index on it would slow down every payment.

| the line is about | it quotes                                                                                            |
|-------------------|------------------------------------------------------------------------------------------------------|
| a payment         | the payment                                                                                          |
| a refund          | the refund; under its sale's reference, the sale's refunds of that amount                            |
| a reversal        | the payment while it is open; else its refunds of that amount, because a reversal may be one of them |
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.reconciliation.rows import TheirLine
from workflows.settlements.rows import SettlementRow

AROUND = timedelta(days=31)

REPEATED_REFERENCES = frozenset({"external"})
"""Providers whose reference may be a slip number, which terminals reuse; the amount has to agree too."""

OPEN = frozenset({"pending", "processing"})
MOVED = frozenset({"completed", "refunded"})
NOT_MOVED = ("declined", "unavailable", "withdrawn", "not_found")
"""Outcomes of an attempt that moved no money; another attempt of the same payment may have moved it."""


@dataclass(frozen=True, slots=True)
class Quoted:
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

    @property
    def is_open(self) -> bool:
        """Whether its status is not final."""
        return self.status in OPEN

    @property
    def has_moved(self) -> bool:
        """Whether it is in the books, or will be after the next close."""
        return self.status in MOVED and self.attempt_moved

    @property
    def is_held(self) -> bool:
        """Whether it is still in the books after the corrections booked for it."""
        return (self.amount + self.corrections) * self.amount > 0


_CORRECTIONS = """(SELECT coalesce(sum(c.amount), 0)::bigint FROM settlement_lines c
            WHERE c.kind = 'adjustment' AND c.payment_id = {payment} AND split_part(c.our_reference, ':', 1) = {entity}
              AND c.currency = {entity_currency})"""
_PAYMENT = f"""SELECT 'payment' AS kind, p.id, p.id AS payment_id, p.store_id, p.provider, p.currency,
           p.amount + p.tip_amount AS amount, p.fee, p.status, p.settlement_id,
           coalesce(a.outcome <> ALL (CAST(:not_moved AS text[])), true) AS attempt_moved,
           {{how}} AS by_our_reference,
           {_CORRECTIONS.format(payment="p.id", entity="p.id", entity_currency="p.currency")} AS corrections"""
_REFUND = f"""SELECT 'refund' AS kind, r.id, r.payment_id, r.store_id, r.provider, r.currency, -r.amount AS amount, r.fee,
           r.status, r.settlement_id, coalesce(a.outcome <> ALL (CAST(:not_moved AS text[])), true) AS attempt_moved,
           {{how}} AS by_our_reference,
           {_CORRECTIONS.format(payment="r.payment_id", entity="r.id", entity_currency="r.currency")} AS corrections"""

_BY_OURS = text(f"""
    -- quoted by our reference: the attempt's entity, or the one that the reference names
    {_PAYMENT.format(how="true")}
    FROM payments p LEFT JOIN payment_attempts a ON a.reference = :our_reference AND a.payment_id = p.id
    WHERE p.merchant_id = :merchant_id AND p.id = coalesce(
        (SELECT payment_id FROM payment_attempts WHERE reference = :our_reference), split_part(:our_reference, ':', 1))
    UNION ALL
    {_REFUND.format(how="true")}
    FROM refunds r LEFT JOIN refund_attempts a ON a.reference = :our_reference AND a.refund_id = r.id
    WHERE r.merchant_id = :merchant_id AND r.id = coalesce(
        (SELECT refund_id FROM refund_attempts WHERE reference = :our_reference), split_part(:our_reference, ':', 1))
""")
_STORES = "ANY (ARRAY(SELECT id FROM stores WHERE merchant_id = :merchant_id))"
_BY_THEIRS = text(f"""
    -- quoted by the provider's reference: ids begin with their timestamp, so the store's index limits the rows to search
    {_PAYMENT.format(how="false")}
    FROM payments p LEFT JOIN payment_attempts a ON a.payment_id = p.id AND a.number = p.attempts
    WHERE p.store_id = {_STORES} AND p.id BETWEEN 'pay_' || :since AND 'pay_' || :until
      AND p.provider = :provider AND p.provider_reference = :provider_reference
    UNION ALL
    {_REFUND.format(how="false")}
    FROM refunds r LEFT JOIN refund_attempts a ON a.refund_id = r.id AND a.number = r.attempts
    WHERE r.store_id = {_STORES} AND r.id BETWEEN 'rfd_' || :since AND 'rfd_' || :until
      AND r.provider = :provider AND r.provider_reference = :provider_reference
""")
_REFUNDS_OF = text(f"""
    -- refunds of payments that give back this amount
    {_REFUND.format(how="true")}
    FROM refunds r LEFT JOIN refund_attempts a ON a.refund_id = r.id AND a.number = r.attempts
    WHERE r.payment_id = ANY(:payment_ids) AND r.merchant_id = :merchant_id AND r.amount = -CAST(:amount AS bigint)
""")


async def find_quoted(
    connection: AsyncConnection, line: TheirLine, *, provider: str, settlement: SettlementRow
) -> list[Quoted]:
    """Return the payments and refunds that a break's ``their_line`` quotes, by the table above."""
    facts = {"merchant_id": settlement["merchant_id"], "provider": provider, "not_moved": list(NOT_MOVED)}
    found: list[Quoted] = []
    if line["our_reference"]:
        found = await _find(connection, _BY_OURS, {**facts, "our_reference": line["our_reference"]})
    if not found and line["provider_reference"]:
        window = {
            "since": _prefix(settlement["start_at"] - AROUND),
            "until": _prefix(settlement["end_at"] + AROUND),
        }
        found = await _find(
            connection, _BY_THEIRS, {**facts, **window, "provider_reference": line["provider_reference"]}
        )
    if line["kind"] == "payment":
        return [one for one in found if one.kind == "payment"]
    refunds = [one for one in found if one.kind == "refund"]
    payments = [one.payment_id for one in found if one.kind == "payment"]
    if payments and not refunds:
        refunds = await refunds_of(connection, payments, amount=line["amount"], settlement=settlement)
    return [*refunds, *(one for one in found if one.kind == "payment" and one.is_open)]


async def refunds_of(
    connection: AsyncConnection, payment_ids: list[str], *, amount: int, settlement: SettlementRow
) -> list[Quoted]:
    """Return the refunds of these payments whose signed amount (below zero) is ``amount``."""
    facts = {"merchant_id": settlement["merchant_id"], "not_moved": list(NOT_MOVED)}
    return await _find(connection, _REFUNDS_OF, {**facts, "payment_ids": payment_ids, "amount": amount})


async def _find(connection: AsyncConnection, statement: Any, parameters: dict[str, Any]) -> list[Quoted]:
    return [Quoted(**row) for row in (await connection.execute(statement, parameters)).mappings()]


def _prefix(at: Any) -> str:
    """Return the beginning of the ids of a timestamp (UUID version 7)."""
    return f"{int(at.timestamp() * 1_000):012x}"

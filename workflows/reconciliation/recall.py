"""Look up the provider's lines without a pair (``their_rest`` of a run, ``match``) in our own books.

| statement         | what                                                                                            |
|-------------------|-------------------------------------------------------------------------------------------------|
| recall            | lines that quote an attempt of this store, and whether that attempt moved money                 |
| recall elsewhere  | lines without a reference of ours: payments and refunds of other periods, by the provider's      |
| waiting           | lines that quote a payment or refund which is not final: the run is repeated when it is (``waits_for``) |
"""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.reconciliation.quoted import REPEATED_REFERENCES

_RECALL = (
    text("""
        -- recall: attempts of this store that their lines quote; one that succeeded is in another period's line, or will be
        UPDATE their_rest t
        SET known = CASE WHEN a.outcome = 'succeeded' AND p.status IN ('completed', 'refunded') THEN 'moved' ELSE 'other' END
        FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
        WHERE t.kind <> 'refund' AND a.reference = t.our_reference AND a.store_id = :store_id
    """),
    text("""
        UPDATE their_rest t
        SET known = CASE WHEN a.outcome = 'succeeded' AND r.status = 'completed' THEN 'moved' ELSE 'other' END
        FROM refund_attempts a JOIN refunds r ON r.id = a.refund_id
        WHERE t.kind = 'refund' AND a.reference = t.our_reference AND a.store_id = :store_id
    """),
    text("""
        UPDATE their_rest t SET known = 'moved' FROM ours o
        WHERE t.known IS NULL AND o.our_reference = t.our_reference AND o.provider = t.provider
          AND o.kind = CASE t.kind WHEN 'refund' THEN 'refund' ELSE 'payment' END
    """),
)
_FIRST_ID = "'{prefix}_' || lpad(to_hex(CAST(extract(epoch FROM {at}) * 1000 AS bigint)), 12, '0')"


def _around(entity: str, prefix: str) -> str:
    """Return the condition that an entity was created around ``s``. Ids begin with their timestamp."""
    since = _FIRST_ID.format(prefix=prefix, at="s.start_at - interval '31 days'")
    until = _FIRST_ID.format(prefix=prefix, at="s.end_at + interval '31 days'")
    return f"{entity}.id BETWEEN {since} AND {until}"


_RECALL_ELSEWHERE = text(f"""
    -- recall elsewhere: lines that quote no reference of ours, by the provider's; ids begin with their timestamp
    UPDATE their_rest t SET elsewhere = e.known
    FROM settlements s, LATERAL (
        SELECT p.provider, p.provider_reference, 'payment' AS kind, max(CASE WHEN p.status IN ('completed', 'refunded')
            THEN 'moved' ELSE 'other' END) AS known
        FROM payments p WHERE p.store_id = s.store_id AND {_around("p", "pay")}
          AND p.provider_reference IS NOT NULL AND p.settlement_id IS DISTINCT FROM s.id GROUP BY 1, 2
        UNION ALL
        SELECT r.provider, r.provider_reference, 'refund', max(CASE WHEN r.status = 'completed' THEN 'moved' ELSE 'other' END)
        FROM refunds r WHERE r.store_id = s.store_id AND {_around("r", "rfd")}
          AND r.provider_reference IS NOT NULL AND r.settlement_id IS DISTINCT FROM s.id GROUP BY 1, 2
    ) e
    WHERE s.id = :id AND t.known IS NULL AND t.provider_reference = e.provider_reference AND t.provider = e.provider
      AND t.kind = e.kind AND NOT (t.provider = ANY(:repeating))
""")
_WAITING_ELSEWHERE = tuple(
    text(f"""
        -- waiting elsewhere: the same, by the provider's reference
        UPDATE theirs t SET waits_for = e.id
        FROM settlements s JOIN {entity}s e ON e.store_id = s.store_id AND {_around("e", prefix)}
        JOIN their_rest rest ON rest.provider_reference = e.provider_reference AND rest.provider = e.provider
        WHERE s.id = :id AND t.id = rest.id AND rest.has_moved AND rest.elsewhere = 'other'
          AND e.status IN ('pending', 'processing')
    """)
    for entity, prefix in (("payment", "pay"), ("refund", "rfd"))
)
_SOME_UNKNOWN = text("""
    SELECT EXISTS (SELECT FROM their_rest WHERE known IS NULL AND provider_reference IS NOT NULL AND has_moved)
""")
_WAITING = tuple(
    text(f"""
        -- waiting: payments and refunds that their lines quote and that are not final yet
        UPDATE theirs t SET waits_for = e.id
        FROM their_rest rest LEFT JOIN {entity}_attempts a ON a.reference = rest.our_reference
        JOIN {entity}s e ON e.id = coalesce(a.{entity}_id, split_part(rest.our_reference, ':', 1))
        WHERE t.id = rest.id AND rest.has_moved AND e.store_id = :store_id AND e.status IN ('pending', 'processing')
    """)
    for entity in ("payment", "refund")
)


async def recall_attempts(connection: AsyncConnection, parameters: dict[str, Any]) -> None:
    """Set ``known`` of lines that quote an attempt of ours: ``moved``, or ``other`` if no money moved."""
    for statement in _RECALL:
        await connection.execute(statement, parameters)


async def find_elsewhere(connection: AsyncConnection, parameters: dict[str, Any]) -> None:
    """Set ``elsewhere`` and ``waits_for`` of lines.

    ``elsewhere``: another period explains the line. ``waits_for``: the payment or refund that it quotes is not final.
    """
    if (await connection.execute(_SOME_UNKNOWN)).scalar_one():
        await connection.execute(_RECALL_ELSEWHERE, {**parameters, "repeating": sorted(REPEATED_REFERENCES)})
        for statement in _WAITING_ELSEWHERE:
            await connection.execute(statement, parameters)
    for statement in _WAITING:
        await connection.execute(statement, parameters)

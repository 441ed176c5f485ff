"""Find payments of archived months that a statement's line quotes, by their settlement lines, which stay.

A settlement has a line of each payment that moved money. So a payment without a line is not in our books.
"""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

CORRECTIONS = """(SELECT coalesce(sum(c.amount), 0)::bigint FROM settlement_lines c
            WHERE c.kind = 'adjustment' AND c.payment_id = {payment} AND split_part(c.our_reference, ':', 1) = {entity}
              AND c.currency = {entity_currency})"""
"""SQL: the sum of the adjustments booked for an entity so far."""

# archived_months is a table of a higher layer. It is read here, because a late statement may quote a payment of such a month.
ARCHIVED = """EXISTS (SELECT FROM archived_months m
            WHERE substr({line}.entity_id, 5) >= m.low AND substr({line}.entity_id, 5) < m.high)"""
"""The SQL condition that the entity of a settlement line is of an archived month."""
_PAYMENT = f"""SELECT 'payment' AS kind, l.entity_id AS id, l.entity_id AS payment_id, l.store_id, l.provider,
           l.currency, l.amount, l.fee, 'completed' AS status, l.settlement_id, {{moved}} AS attempt_moved,
           {{how}} AS by_our_reference,
           {CORRECTIONS.format(payment="l.entity_id", entity="l.entity_id", entity_currency="l.currency")} AS corrections,
           true AS is_archived"""
ARCHIVED_BY_OURS = f"""
    {_PAYMENT.format(how="true", moved="coalesce(l.our_reference = :our_reference, false)")}
    FROM settlement_lines l
    WHERE l.kind = 'payment' AND l.entity_id = split_part(:our_reference, ':', 1) AND l.merchant_id = :merchant_id
      AND {ARCHIVED.format(line="l")}
"""
"""SQL: the columns of ``QuotedEntity`` of an archived payment, found by our reference."""
# archived_months is a table of a higher layer. It is read here for the same reason, and first, so that nothing else is read
# unless such a month is near.
ARCHIVED_BY_THEIRS = f"""
    {_PAYMENT.format(how="false", moved="true")}
    FROM archived_months n
    JOIN settlements s ON n.high > :since AND n.low <= :until
        AND s.store_id = ANY (ARRAY(SELECT id FROM stores WHERE merchant_id = :merchant_id))
        AND s.end_at >= CAST(:since_at AS timestamptz) AND s.start_at <= CAST(:until_at AS timestamptz)
    JOIN settlement_lines l ON l.settlement_id = s.id AND substr(l.entity_id, 5) >= n.low AND substr(l.entity_id, 5) < n.high
    WHERE l.kind = 'payment' AND l.provider = :provider AND l.provider_reference = :provider_reference
"""
"""SQL: such a payment, found by the provider's reference in the settlements from ``:since_at`` to ``:until_at``."""

KNOWN_ARCHIVED = text(f"""
    -- archived: the attempt of the settlement line moved the money, and no other attempt of its payment did
    UPDATE their_rest t SET known = CASE WHEN l.our_reference = t.our_reference THEN 'moved' ELSE 'other' END
    FROM settlement_lines l
    WHERE t.known IS NULL AND t.kind <> 'refund' AND l.kind = 'payment'
      AND l.entity_id = split_part(t.our_reference, ':', 1) AND l.store_id = :store_id AND {ARCHIVED.format(line="l")}
""")
# archived_months is a table of a higher layer. It is read here for the same reason.
_ARCHIVED_NEAR = text("""
    SELECT EXISTS (SELECT FROM settlements s JOIN archived_months m ON m.high > lpad(to_hex(CAST(
        extract(epoch FROM s.start_at - interval '31 days') * 1000 AS bigint)), 12, '0') WHERE s.id = :id)
""")
# archived_months is a table of a higher layer. It is read here for the same reason.
_MARK_ELSEWHERE_ARCHIVED = text("""
    -- elsewhere: the same for payments of archived months, by the lines of the settlements around this one
    UPDATE their_rest t SET elsewhere = 'moved'
    FROM settlements s JOIN settlements o ON o.store_id = s.store_id AND o.id <> s.id
        AND o.end_at > s.start_at - interval '31 days' AND o.start_at < s.end_at + interval '31 days'
    JOIN settlement_lines l ON l.settlement_id = o.id AND l.kind = 'payment'
    JOIN archived_months m ON substr(l.entity_id, 5) >= m.low AND substr(l.entity_id, 5) < m.high
    WHERE s.id = :id AND t.known IS NULL AND t.elsewhere IS NULL AND t.provider_reference = l.provider_reference
      AND t.provider = l.provider AND t.kind = 'payment' AND NOT (t.provider = ANY(:repeating))
""")


async def mark_archived_elsewhere(connection: AsyncConnection, parameters: dict[str, Any]) -> None:
    """Set ``elsewhere`` of lines without a pair that quote an archived payment of another period."""
    if (await connection.execute(_ARCHIVED_NEAR, parameters)).scalar_one():
        await connection.execute(_MARK_ELSEWHERE_ARCHIVED, parameters)

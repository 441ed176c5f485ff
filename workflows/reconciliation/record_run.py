"""Record the result of a run: its sums by category, and its breaks.

The categories have to explain the difference between our sum and theirs exactly. The two sums are computed from the lines and
not from the categories, so the check is independent. A run whose categories do not add up to the difference is not stored.

A break that an earlier run found is recognised by its identity, which is what differs and by how much: category, provider,
kind, our entity, their references, the differences in amount and fee (and the amount in another currency, or the other day).
A resolution is therefore valid exactly as long as the difference is the same, whatever file or run it comes from. Another
amount is another break.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.reconciliation.classify import NO_BREAK, Category
from workflows.settlements.models import SettlementRow
from workflows.time_zones import sql_zone

_CATEGORIES = text("""
    SELECT category, count(*) AS count, count(our_id) AS our_count, count(their_id) AS their_count,
           sum(our_amount)::bigint AS ours, sum(their_amount)::bigint AS theirs,
           sum(our_fee)::bigint AS our_fees, sum(their_fee)::bigint AS their_fees
    FROM classified GROUP BY category
""")
_OURS = text("""
    SELECT count(*) AS count, coalesce(sum(amount), 0)::bigint AS amount, coalesce(sum(fee), 0)::bigint AS fees FROM ours
""")
_THEIRS = text("""
    SELECT currency, count(*) AS count, coalesce(sum(amount) FILTER (WHERE has_moved), 0)::bigint AS amount
    FROM theirs GROUP BY currency ORDER BY currency
""")


async def summarise(connection: AsyncConnection, *, currency: str) -> tuple[dict[str, Any], bool]:
    """Return the summary of the run in this transaction, and whether it explains the difference exactly."""
    found = {row["category"]: dict(row) for row in (await connection.execute(_CATEGORIES)).mappings()}
    ours = dict((await connection.execute(_OURS)).mappings().one())
    theirs = {row["currency"]: dict(row) for row in (await connection.execute(_THEIRS)).mappings()}
    categories = {str(category): _category(found.get(category)) for category in Category}
    summary: dict[str, Any] = {
        "currency": currency,
        "ours": ours,
        "theirs": {
            "count": sum(row["count"] for row in theirs.values()),
            "amount": theirs[currency]["amount"] if currency in theirs else 0,
            "fees": sum(row["their_fees"] for row in found.values()),
            "other_currencies": {name: row["amount"] for name, row in theirs.items() if name != currency},
        },
        "categories": categories,
    }
    summary["difference"] = ours["amount"] - summary["theirs"]["amount"]
    summary["fee_difference"] = ours["fees"] - summary["theirs"]["fees"]
    return summary, _is_explained(summary, list(found.values()))


def _category(row: dict[str, Any] | None) -> dict[str, int]:
    if row is None:
        return dict.fromkeys(("count", "ours", "theirs", "difference", "fee_difference"), 0)
    return {
        "count": row["count"],
        "ours": row["ours"],
        "theirs": row["theirs"],
        "difference": row["ours"] - row["theirs"],
        "fee_difference": row["our_fees"] - row["their_fees"],
    }


def _is_explained(summary: dict[str, Any], found: list[dict[str, Any]]) -> bool:
    """Return whether every line counts once, and the categories' differences add up to that of the sums."""
    parts = summary["categories"].values()
    return bool(
        sum(row["our_count"] for row in found) == summary["ours"]["count"]
        and sum(row["their_count"] for row in found) == summary["theirs"]["count"]
        and sum(part["difference"] for part in parts) == summary["difference"]
        and sum(part["fee_difference"] for part in parts) == summary["fee_difference"]
    )


FIRST_OWNER = "merchant_admin"
"""The owner of a break until it is assigned: the role that may resolve it."""

_NOTE = text("""
    -- record: new breaks, and those found again. Ids (UUID version 7) are generated here, because there may be a million: the
    -- timestamp, an increasing number (so that indexes grow at their end) and random digits. A line of ours is in one break
    -- only; equal lines of theirs without a counterpart are numbered.
    WITH found AS NOT MATERIALIZED (
        SELECT j.*, t.waits_for, coalesce(o.provider, t.provider) AS provider, coalesce(o.kind, t.kind) AS kind, o.entity_id,
               coalesce(o.our_reference, t.our_reference) AS our_reference,
               coalesce(t.provider_reference, o.provider_reference) AS provider_reference,
               CASE j.category WHEN 'fee_mismatch' THEN o.fee ELSE o.amount END AS ours,
               CASE WHEN j.category = 'fee_mismatch' THEN t.fee WHEN j.category = 'status_mismatch' THEN
                    CASE WHEN t.has_moved THEN t.amount ELSE 0 END ELSE t.amount END AS theirs,
               CASE WHEN o.id IS NOT NULL THEN jsonb_build_object(
                   'entity_id', o.entity_id, 'amount', o.amount, 'fee', o.fee, 'currency', o.currency,
                   'our_reference', o.our_reference, 'provider_reference', o.provider_reference,
                   'occurred_at', o.occurred_at, 'business_date', o.business_date) END AS our_line,
               CASE WHEN t.id IS NOT NULL THEN jsonb_build_object(
                   'statement_id', t.statement_id, 'line_number', t.line_number, 'kind', t.kind, 'amount', t.amount,
                   'fee', t.fee, 'currency', t.currency, 'our_reference', t.our_reference,
                   'provider_reference', t.provider_reference, 'moved', t.has_moved,
                   'occurred_at', t.occurred_at, 'occurred_on', t.occurred_on) END AS their_line,
               concat_ws('|', j.category, coalesce(o.provider, t.provider), coalesce(t.kind, o.kind),
                   'o=' || o.entity_id, 't=' || t.our_reference, 'p=' || t.provider_reference,
                   j.our_amount - j.their_amount, j.our_fee - j.their_fee,
                   CASE WHEN t.currency <> :currency THEN t.currency || t.amount END,
                   CASE j.category WHEN 'date_mismatch' THEN
                        coalesce(t.occurred_on, (t.occurred_at AT TIME ZONE CAST(:time_zone AS text))::date) END) AS base
        FROM classified j LEFT JOIN ours o ON o.id = j.our_id LEFT JOIN theirs t ON t.id = j.their_id
        WHERE j.category <> ALL (CAST(:no_break AS text[]))
    ), numbered AS (
        SELECT *, base || '#1' AS identity FROM found WHERE our_id IS NOT NULL
        UNION ALL
        SELECT *, base || '#' || row_number() OVER (PARTITION BY base ORDER BY their_id) FROM found WHERE our_id IS NULL
    ), counted AS (
        SELECT *, lpad(to_hex(row_number() OVER ()), 6, '0') AS n FROM numbered
    ), noted AS (
    INSERT INTO breaks AS b (id, merchant_id, store_id, settlement_id, identity, run, category, provider, kind, entity_id,
        our_reference, provider_reference, currency, ours, theirs, difference, fee_difference, our_line,
        their_line, opened_at, owner, waits_for)
    SELECT 'brk_' || lpad(to_hex(CAST(extract(epoch FROM CAST(:at AS timestamptz)) * 1000 AS bigint)), 12, '0')
               || '7' || left(n, 3) || '8' || right(n, 3) || right(gen_random_uuid()::text, 12),
           :merchant_id, :store_id, :id, identity, :run, category, provider, kind, entity_id, our_reference,
           provider_reference, :currency, ours, theirs, our_amount - their_amount, our_fee - their_fee, our_line,
           their_line, :at, :owner, waits_for
    FROM counted
    ON CONFLICT (settlement_id, identity) DO UPDATE SET run = excluded.run, waits_for = excluded.waits_for
    RETURNING resolution)
    SELECT count(*) FILTER (WHERE resolution IS NULL) FROM noted
""")


async def record_breaks(connection: AsyncConnection, settlement: SettlementRow, *, run: int, at: datetime) -> int:
    """Store the breaks in ``classified`` as found by ``run``, and return how many of them are open."""
    parameters = {
        "id": settlement["id"],
        "merchant_id": settlement["merchant_id"],
        "store_id": settlement["store_id"],
        "currency": settlement["currency"],
        "run": run,
        "at": at,
        "owner": FIRST_OWNER,
        "no_break": sorted(NO_BREAK),
        "time_zone": sql_zone(settlement["time_zone"], near=settlement["start_at"]),
    }
    return int((await connection.execute(_NOTE, parameters)).scalar_one())

"""Sum up a run by category, and check that the categories explain our sum − their sum exactly.

The two sums are computed from the lines and not from the categories, so the check is independent: a run whose categories do
not add up to the difference is not stored.
"""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.reconciliation.categories import Category

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
    """Return whether every line counts once and the categories' differences add up to that of the sums."""
    parts = summary["categories"].values()
    return bool(
        sum(row["our_count"] for row in found) == summary["ours"]["count"]
        and sum(row["their_count"] for row in found) == summary["theirs"]["count"]
        and sum(part["difference"] for part in parts) == summary["difference"]
        and sum(part["fee_difference"] for part in parts) == summary["fee_difference"]
    )

"""Compute the figures of a settlement from sums by method, provider and brand.

The database adds up the lines (``_SUMS``): one row for each method, provider and brand, a few dozen at most. This module
builds the totals and the breakdown of the API from them. ``refunds`` and ``fees`` are positive amounts that are subtracted:

    net = gross - refunds - fees + adjustments

This holds for the whole and for each group of the breakdown.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.settlements.lines import WAITING
from workflows.settlements.models import SettlementFigures

CASH = "cash"
KEYED_BY: Mapping[str, str] = {"qr": "provider", "card": "brand", "emoney": "brand"}
"""The column by which a method's part of the breakdown is divided.

Cash is a single group; lines without a method are in ``other``.
"""

UNKNOWN = "unknown"
"""The brand of cards whose brand was not reported."""

AMOUNTS = ("gross", "refunds", "fees", "adjustments")

_SUMS = """
    -- sums: one row for each method, provider and brand
    SELECT settlement_id, method_type, provider, brand, count(*) AS count,
           CAST(coalesce(sum(amount) FILTER (WHERE kind = 'payment'), 0) AS bigint) AS gross,
           CAST(coalesce(-sum(amount) FILTER (WHERE kind = 'refund'), 0) AS bigint) AS refunds,
           CAST(coalesce(sum(fee), 0) AS bigint) AS fees,
           CAST(coalesce(sum(amount) FILTER (WHERE kind = 'adjustment'), 0) AS bigint) AS adjustments,
           count(*) FILTER (WHERE is_late) AS late
    FROM {lines} AS lines WHERE settlement_id = ANY(:ids)
    GROUP BY settlement_id, method_type, provider, brand
    ORDER BY settlement_id, method_type, provider, brand
"""
_SUMS_OF_LINES = text(_SUMS.format(lines="settlement_lines"))
_TAKEN = "settlement_id, method_type, provider, brand, kind, amount, fee, is_late"
_SUMS_SO_FAR = text(
    _SUMS.format(
        lines=f"(SELECT {_TAKEN} FROM settlement_lines UNION ALL SELECT {_TAKEN} FROM ({WAITING}) AS waiting)",
    )
)
_IN_DOUBT = text("""
    -- in doubt: payments that began before the end and whose outcome is still unknown
    SELECT s.id, count(p.id) AS payments, CAST(coalesce(sum(p.amount + p.tip_amount), 0) AS bigint) AS amount
    FROM settlements s LEFT JOIN payments p ON p.store_id = s.store_id AND p.currency = s.currency AND NOT p.outcome_known
                                           AND p.processing_at < s.end_at
    WHERE s.id = ANY(:ids) GROUP BY s.id
""")


async def figures_of_lines(connection: AsyncConnection, settlement_ids: list[str]) -> dict[str, SettlementFigures]:
    """Return the figures of settlements, computed from their lines, as a close freezes them."""
    return await _figures(connection, settlement_ids, _SUMS_OF_LINES)


async def figures_so_far(connection: AsyncConnection, settlement_ids: list[str]) -> dict[str, SettlementFigures]:
    """Return the figures that open settlements would have if they were closed now."""
    return await _figures(connection, settlement_ids, _SUMS_SO_FAR)


async def _figures(connection: AsyncConnection, ids: list[str], statement: Any) -> dict[str, SettlementFigures]:
    sums: dict[str, list[Mapping[str, Any]]] = {settlement_id: [] for settlement_id in ids}
    for row in (await connection.execute(statement, {"ids": ids})).mappings():
        sums[row["settlement_id"]].append(dict(row))
    in_doubt = {row.id: row for row in await connection.execute(_IN_DOUBT, {"ids": ids})}
    return {
        settlement_id: add_up(rows, in_doubt=(in_doubt[settlement_id].payments, in_doubt[settlement_id].amount))
        for settlement_id, rows in sums.items()
    }


def add_up(sums: Iterable[Mapping[str, Any]], *, in_doubt: tuple[int, int] = (0, 0)) -> SettlementFigures:
    """Add up the figures of one settlement from the sums of its groups.

    Each row of ``sums`` has count, gross, refunds, fees, adjustments and late. ``in_doubt`` is the number of payments in doubt
    and their amount.
    """
    whole, late = _empty_group(), 0
    breakdown: dict[str, Any] = {CASH: _empty_group(), **{method: {} for method in KEYED_BY}, "other": _empty_group()}
    for row in sums:
        late += row["late"]
        for group in (whole, _group(breakdown, row)):
            _add(group, row)
    cash = breakdown[CASH]
    return {
        "line_count": whole["count"],
        "gross_amount": whole["gross"],
        "refunds_amount": whole["refunds"],
        "fees_amount": whole["fees"],
        "adjustments_amount": whole["adjustments"],
        "net_amount": whole["net"],
        "breakdown": breakdown,
        "late_count": late,
        "in_doubt_count": in_doubt[0],
        "in_doubt_amount": in_doubt[1],
        "cash_expected": cash["gross"] - cash["refunds"] + cash["adjustments"],
    }


def _empty_group() -> dict[str, int]:
    return {"count": 0, **dict.fromkeys((*AMOUNTS, "net"), 0)}


def _group(breakdown: dict[str, Any], row: Mapping[str, Any]) -> dict[str, int]:
    method = row["method_type"]
    if method in KEYED_BY:
        group: dict[str, int] = breakdown[method].setdefault(row[KEYED_BY[method]] or UNKNOWN, _empty_group())
        return group
    flat: dict[str, int] = breakdown[CASH if method == CASH else "other"]
    return flat


def _add(group: dict[str, int], row: Mapping[str, Any]) -> None:
    for name in ("count", *AMOUNTS):
        group[name] += row[name]
    group["net"] = group["gross"] - group["refunds"] - group["fees"] + group["adjustments"]

"""Serialize settlements, their lines and overrides for the API."""

from collections.abc import Mapping
from typing import Any

LINE_FIELDS = (
    "kind",
    "entity_id",
    "settlement_id",
    "payment_id",
    "provider",
    "provider_reference",
    "our_reference",
    "method_type",
    "brand",
    "currency",
    "amount",
    "tip_amount",
    "fee",
    "occurred_at",
    "business_date",
    "is_late",
)
"""The fields of a line in the API and in exports, in this order."""

OVERRIDE_FIELDS = ("store_id", "business_date", "ends_at_local", "ends_at", "reason", "created_at", "created_by")


def settlement_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of a row of ``settlements``.

    ``totals``, ``breakdown``, ``in_doubt`` and ``cash_expected`` of an open settlement are null unless ``row`` has its figures
    so far (``totals.figures_so_far``).
    """
    amounts = ("gross", "refunds", "fees", "adjustments", "net")
    has_figures = row["line_count"] is not None
    totals = {"count": row["line_count"], **{name: row[f"{name}_amount"] for name in amounts}}
    actual = row["cash_actual"]
    return {
        **{name: row[name] for name in ("id", "merchant_id", "store_id", "currency", "business_date")},
        **{name: row[name] for name in ("start_at", "end_at", "time_zone")},
        "cut_off": f"{row['cut_off']:%H:%M}",
        "status": row["status"],
        "version": row["version"],
        "totals": totals if has_figures else None,
        "breakdown": row["breakdown"],
        "late_count": row["late_count"],
        "in_doubt": {"count": row["in_doubt_count"], "amount": row["in_doubt_amount"]} if has_figures else None,
        "cash_expected": row["cash_expected"],
        "cash_actual": actual,
        "cash_discrepancy": None if actual is None else actual - row["cash_expected"],
        **{
            name: row[name]
            for name in (
                "note",
                "open_breaks",
                "uncompared",
                "created_at",
                "closed_at",
                "reconciled_at",
                "reconciled_by",
            )
        },
    }


def line_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of a settlement's line."""
    return {name: row[name] for name in LINE_FIELDS}


def override_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of an override, which needs ``ends_at`` beside its columns."""
    return {name: row[name] for name in OVERRIDE_FIELDS}

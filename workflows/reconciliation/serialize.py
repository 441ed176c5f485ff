"""Serialize breaks and statements for the API."""

from collections.abc import Mapping
from typing import Any

BREAK_FIELDS = (
    "id",
    "settlement_id",
    "run",
    "category",
    "provider",
    "kind",
    "entity_id",
    "our_reference",
    "provider_reference",
    "currency",
    "ours",
    "theirs",
)
RESOLUTION_FIELDS = (
    "owner",
    "waits_for",
    "resolution",
    "note",
    "reference",
    "other_reference",
    "resolved_at",
    "resolved_by",
)
STATEMENT_FIELDS = (
    "id",
    "settlement_id",
    "number",
    "provider",
    "source",
    "format",
    "sha256",
    "size_bytes",
    "line_count",
    "mapping",
    "created_at",
    "created_by",
)


def break_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of a row of ``breaks`` with ``now``.

    ``difference`` is ``ours − theirs`` in the settlement's currency: of amounts, or of fees for a ``fee_mismatch``.
    ``age_days`` are whole days from the run that first found it until now, or until it was resolved.
    """
    is_fee = row["category"] == "fee_mismatch"
    until = row["resolved_at"] or row["now"]
    return {
        **{name: row[name] for name in BREAK_FIELDS},
        "difference": row["fee_difference"] if is_fee else row["difference"],
        "fee_difference": row["fee_difference"],
        "our_line": row["our_line"],
        "their_line": row["their_line"],
        "opened_at": row["opened_at"],
        "age_days": (until - row["opened_at"]).days,
        **{name: row[name] for name in RESOLUTION_FIELDS},
    }


def statement_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API fields of a row of ``statements``."""
    return {name: row[name] for name in STATEMENT_FIELDS}

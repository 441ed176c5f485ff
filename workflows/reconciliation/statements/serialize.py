"""A statement as answers show it."""

from collections.abc import Mapping
from typing import Any

FIELDS = (
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


def statement_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` (the columns of ``statements``) as the fields of the contract."""
    return {name: row[name] for name in FIELDS}

"""Turn a device's row into the fields of a terminal, as the contract calls it."""

from collections.abc import Mapping
from typing import Any

FIELDS = (
    "id",
    "merchant_id",
    "store_id",
    "serial_number",
    "name",
    "model",
    "status",
    "version",
    "client_id",
    "created_at",
    "activated_at",
    "suspended_at",
    "deactivated_at",
    "last_connected_at",
)


def device_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a device's row; columns that are absent become ``None``."""
    return {name: row.get(name) for name in FIELDS}

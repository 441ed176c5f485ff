"""Examples of terminals for the OpenAPI document: one of each status."""

from typing import Any, cast

from workflows.devices.models import DeviceRow
from workflows.devices.queries import device_fields

Table = dict[str, tuple[str, dict[str, Any]]]


def _example(status: str, **fields: Any) -> dict[str, Any]:
    base = {
        "id": "dev_0198c0de5a7b7c3e9d1f2a3b4c5d6e7f",
        "merchant_id": "mer_0198c0de5a7b7c3e9d1f2a3b4c5d6e01",
        "store_id": "sto_0198c0de5a7b7c3e9d1f2a3b4c5d6e02",
        "serial_number": "SPA-000123",
        "name": "Till 1",
        "model": "S-Pitt Air",
        "status": status,
        "version": 1,
        "client_id": None,
        "created_at": "2026-01-28T01:00:00Z",
        "activated_at": None,
        "suspended_at": None,
        "deactivated_at": None,
        "last_connected_at": None,
    }
    return device_fields(cast(DeviceRow, {**base, **fields}))


_ACTIVE = {
    "client_id": "cli_0198c0de5a7b7c3e9d1f2a3b4c5d6e03",
    "activated_at": "2026-01-28T01:05:00Z",
    "last_connected_at": "2026-01-28T03:00:00Z",
}
TERMINALS: Table = {
    "pending_activation": ("Registered; not yet activated with a code", _example("pending_activation")),
    "active": ("Its requests are accepted", _example("active", **_ACTIVE, version=2)),
    "suspended": (
        "Its requests are refused until it is resumed",
        _example("suspended", **_ACTIVE, version=3, suspended_at="2026-01-28T04:00:00Z"),
    ),
    "deactivated": (
        "Out of service permanently",
        _example("deactivated", **_ACTIVE, version=3, deactivated_at="2026-01-28T05:00:00Z"),
    ),
}
"""Status → an example of a terminal in that status."""

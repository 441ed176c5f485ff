"""Declare the rows of devices, as the use-cases read them.

``tests/unit/database/test_row_types.py`` compares them with the columns of the tables.
"""

from datetime import datetime
from typing import TypedDict


class DeviceRow(TypedDict):
    """A row of ``devices``."""

    id: str
    merchant_id: str
    store_id: str
    serial_number: str
    name: str
    model: str
    status: str
    version: int
    client_id: str | None
    public_key_pem: str | None
    created_at: datetime
    activated_at: datetime | None
    suspended_at: datetime | None
    deactivated_at: datetime | None
    last_connected_at: datetime | None

"""Declare the rows of merchants, stores and the providers of stores, as the use-cases read them.

``tests/unit/database/test_row_types.py`` compares them with the columns of the tables.
"""

from datetime import datetime, time
from typing import TypedDict


class MerchantRow(TypedDict):
    """A row of ``merchants``."""

    id: str
    psp_id: str
    name: str
    created_at: datetime
    updated_at: datetime


class StoreRow(TypedDict):
    """A row of ``stores``."""

    id: str
    merchant_id: str
    name: str
    currency: str
    time_zone: str
    cut_off: time
    created_at: datetime
    updated_at: datetime


class StoreProviderRow(TypedDict):
    """A row of ``store_providers``."""

    id: str
    merchant_id: str
    store_id: str
    provider: str
    methods: list[str]
    priority: int
    enabled: bool
    credentials: bytes | None
    created_at: datetime
    updated_at: datetime

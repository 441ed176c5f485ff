"""Turn rows of merchants, stores and store providers into the fields of the contract."""

from collections.abc import Mapping
from typing import Any

from workflows.tenants.credentials import Vault

MERCHANT_FIELDS = ("id", "psp_id", "name", "created_at", "updated_at")
STORE_FIELDS = ("id", "merchant_id", "name", "currency", "time_zone", "created_at", "updated_at")
STORE_PROVIDER_FIELDS = (
    "id",
    "store_id",
    "merchant_id",
    "provider",
    "methods",
    "priority",
    "enabled",
    "created_at",
    "updated_at",
)


def merchant_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a merchant's row."""
    return {name: row[name] for name in MERCHANT_FIELDS}


def store_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a store's row, with the cut-off as ``HH:MM``."""
    return {**{name: row[name] for name in STORE_FIELDS}, "cut_off": f"{row['cut_off']:%H:%M}"}


def store_provider_fields(row: Mapping[str, Any], vault: Vault) -> dict[str, Any]:
    """Return the fields of a store provider's row: the names of its credentials, never their values."""
    credentials = vault.open(row["credentials"], row_id=row["id"])
    return {**{name: row[name] for name in STORE_PROVIDER_FIELDS}, "credentials_set": sorted(credentials)}

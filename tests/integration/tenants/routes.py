"""The routes of this part, each with a request that is good but for whose it is."""

from dataclasses import dataclass, field
from typing import Any

import uuid_utils

from tests.factories import Tenant

ROLES = ("staff", "store_manager", "merchant_admin", "psp_admin", "system_op")


@dataclass(frozen=True, slots=True)
class Route:
    """``least`` is the lowest role that may; ``{…}`` in path and body are ids of the tenant it is about."""

    method: str
    path: str
    least: str
    body: dict[str, Any] | None = field(default=None)

    def of(self, tenant: Tenant) -> tuple[str, str, dict[str, Any] | None]:
        """Method, path and body about ``tenant``."""
        ids = {
            "psp_id": tenant.psp_id,
            "merchant_id": tenant.merchant_id,
            "store_id": tenant.store_id,
            "device_id": tenant.device_id,
            "unique": uuid_utils.uuid7().hex,
        }
        body = self.body and {
            name: value.format(**ids) if isinstance(value, str) else value for name, value in self.body.items()
        }
        return self.method, self.path.format(**ids), body

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


TERMINAL = {"serial_number": "SN-{unique}", "name": "n", "model": "m", "store_id": "{store_id}"}

ABOUT_ONE = (
    Route("POST", "/merchants", "psp_admin", {"name": "x", "psp_id": "{psp_id}"}),
    Route("GET", "/merchants/{merchant_id}", "psp_admin"),
    Route("PATCH", "/merchants/{merchant_id}", "psp_admin", {"name": "taken over"}),
    Route("POST", "/stores", "merchant_admin", {"name": "x", "merchant_id": "{merchant_id}"}),
    Route("GET", "/stores/{store_id}", "merchant_admin"),
    Route("PATCH", "/stores/{store_id}", "merchant_admin", {"name": "taken over"}),
    Route("GET", "/stores/{store_id}/providers", "merchant_admin"),
    Route("GET", "/stores/{store_id}/providers/sandbox", "merchant_admin"),
    Route("PATCH", "/stores/{store_id}/providers/sandbox", "merchant_admin", {"enabled": False}),
    Route("DELETE", "/stores/{store_id}/providers/sandbox", "merchant_admin"),
    Route("POST", "/stores/{store_id}/providers", "merchant_admin", {"provider": "sandbox", "methods": ["qr"]}),
    Route("POST", "/terminals", "store_manager", TERMINAL),
    Route("GET", "/terminals/{device_id}", "store_manager"),
    Route("POST", "/terminals/{device_id}/suspend", "store_manager"),
    Route("POST", "/terminals/{device_id}/resume", "store_manager"),
    Route("POST", "/device/provision/generateActivationCode", "store_manager", {"device_id": "{device_id}"}),
    Route("GET", "/device/provision/activationStatus?device_id={device_id}", "store_manager"),
    Route("POST", "/terminals/{device_id}/deactivate", "store_manager"),
)
"""About one row. In an order in which one tenant can do them all with its own ids."""

LISTS = (
    Route("GET", "/merchants", "psp_admin"),
    Route("GET", "/stores", "merchant_admin"),
    Route("GET", "/terminals", "store_manager"),
)

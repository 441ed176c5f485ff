"""The caller of a request, and the transaction that runs with its rights.

A caller's ``scope`` is the widest part of the tenant tree it may touch. Queries filter by it (``workflows.tenants.scope``),
and each transaction begins by passing it to the database, so that row-level security filters by it a second time.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import Role, transaction
from workflows.errors import NotAuthenticated, NotAuthorized


class CallerRole(IntEnum):
    """Roles from the lowest to the highest; a higher one may do, in its tenant, all that a lower one may."""

    DEVICE = 0
    STAFF = 1
    STORE_MANAGER = 2
    MERCHANT_ADMIN = 3
    PSP_ADMIN = 4
    SYSTEM_OP = 5


class Scope(StrEnum):
    """The part of the tenant tree that a caller sees; ``may_see`` in the database has the same values."""

    STORE = "store"
    MERCHANT = "merchant"
    PSP = "psp"
    SYSTEM = "system"


SCOPES: dict[CallerRole, Scope] = {
    CallerRole.DEVICE: Scope.STORE,
    CallerRole.STAFF: Scope.STORE,
    CallerRole.STORE_MANAGER: Scope.STORE,
    CallerRole.MERCHANT_ADMIN: Scope.MERCHANT,
    CallerRole.PSP_ADMIN: Scope.PSP,
    CallerRole.SYSTEM_OP: Scope.SYSTEM,
}


TENANT_IDS: Mapping[Scope, tuple[str, ...]] = {
    Scope.STORE: ("merchant_id", "store_id"),
    Scope.MERCHANT: ("merchant_id",),
    Scope.PSP: ("psp_id",),
    Scope.SYSTEM: (),
}
"""The tenant rule: which ids of the caller a row's owner must have, by scope.

A user's token must name the same ids.
"""


@dataclass(frozen=True, slots=True)
class Caller:
    """A device or a user with a valid token. The tenant ids above its scope are empty."""

    id: str
    role: CallerRole
    psp_id: str = ""
    merchant_id: str = ""
    store_id: str = ""
    client_id: str = ""  # the device's key that the token was issued for

    @property
    def type(self) -> str:
        """``device`` or ``user``: the ``caller_type`` of history rows."""
        return "device" if self.role is CallerRole.DEVICE else "user"

    @property
    def identity(self) -> str:
        """The owner of idempotency keys within a merchant, independent of role and store."""
        return f"{self.type} {self.id}"

    @property
    def scope(self) -> Scope:
        """The widest part of the tenant tree this caller may touch."""
        return SCOPES[self.role]


REPLACED = "replaced"
"""Stands for a device's status in statements if the caller's token was issued for a key that was replaced since."""

# devices is a table of a higher layer: a suspended device is refused without another round trip.
_ENTER = text("""
    -- enter: set the caller for row-level security and read its device's status, in one round trip
    SELECT set_config('mpac.scope', :scope, true), set_config('mpac.psp_id', :psp_id, true),
           set_config('mpac.merchant_id', :merchant_id, true), set_config('mpac.store_id', :store_id, true),
           (SELECT CASE WHEN :client_id IN ('', client_id) THEN status ELSE 'replaced' END
            FROM devices WHERE id = :device_id)
""")


@asynccontextmanager
async def caller_transaction(caller: Caller, *, is_long: bool = False) -> AsyncIterator[AsyncConnection]:
    """Open a transaction with the rights of ``caller``.

    Every transaction checks the device, so suspending it or replacing its key takes effect on its next request, although
    its token has not expired. Raises as ``device_not_active_error`` does, and ``ServiceUnavailable`` as ``transaction`` does.
    """
    async with transaction(Role.CALLER, is_long=is_long) as connection:
        is_device = caller.role is CallerRole.DEVICE
        row = (
            await connection.execute(
                _ENTER,
                {
                    "scope": str(caller.scope),
                    "psp_id": caller.psp_id,
                    "merchant_id": caller.merchant_id,
                    "store_id": caller.store_id,
                    "device_id": caller.id if is_device else None,
                    "client_id": caller.client_id,
                },
            )
        ).one()
        if is_device and row[4] != "active":
            raise device_not_active_error(row[4])
        yield connection


def device_not_active_error(status: str | None) -> NotAuthorized | NotAuthenticated:
    """Return the error for a device that may not call; ``status`` is ``None`` if there is no such device.

    ``REPLACED`` is not a status: the token was issued for a key that has been replaced since.
    """
    if status == REPLACED:
        return NotAuthenticated(message="The key of this device was replaced; get a new token with the new key")
    return NotAuthorized(message=f"This device is {status or 'unknown'}; only an active device may call")

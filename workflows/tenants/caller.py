"""Who is calling, and which rows that caller may see.

A caller's ``scope`` is the widest thing it may touch. The queries filter by it, and the database is told of it at the
start of each transaction, so that row-level security filters by it a second time.
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
    """Roles from the lowest to the highest: a higher one may all that a lower one may, inside its own tenant."""

    DEVICE = 0
    STAFF = 1
    STORE_MANAGER = 2
    MERCHANT_ADMIN = 3
    PSP_ADMIN = 4
    SYSTEM_OP = 5


class Scope(StrEnum):
    """How much of the world a caller sees; ``may_see`` in the database knows the same words."""

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
"""The tenant rule: which ids of the caller a row's owner must have, by scope. A user's token must name the same ids."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A device or a user whose token was found good. The tenant ids are empty above its scope."""

    id: str
    role: CallerRole
    psp_id: str = ""
    merchant_id: str = ""
    store_id: str = ""
    client_id: str = ""  # which of the device's keys its token was got with

    @property
    def type(self) -> str:
        """``device`` or ``user``: the ``caller_type`` of history rows."""
        return "device" if self.role is CallerRole.DEVICE else "user"

    @property
    def identity(self) -> str:
        """The caller within its merchant, regardless of role and store: the owner of its idempotency keys."""
        return f"{self.type} {self.id}"

    @property
    def scope(self) -> Scope:
        """The widest thing this caller may touch."""
        return SCOPES[self.role]


REPLACED = "replaced"
"""Replaces a device's status in statements if the caller's token was issued for a key that was replaced since."""

_ENTER = text("""
    -- enter: tells row-level security who is calling, and whether that device is still active, in one round trip
    SELECT set_config('mpac.scope', :scope, true), set_config('mpac.psp_id', :psp_id, true),
           set_config('mpac.merchant_id', :merchant_id, true), set_config('mpac.store_id', :store_id, true),
           (SELECT CASE WHEN :client_id IN ('', client_id) THEN status ELSE 'replaced' END
            FROM devices WHERE id = :device_id)
""")


@asynccontextmanager
async def caller_transaction(caller: Caller, *, is_long: bool = False) -> AsyncIterator[AsyncConnection]:
    """Open a transaction with the rights of ``caller``.

    Suspending a device or replacing its key takes effect on its very next request, although its token has not expired:
    every transaction checks. Raises as ``device_not_active`` does, and ``ServiceUnavailable`` as ``transaction`` does.
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
            raise device_not_active(row[4])
        yield connection


def device_not_active(status: str | None) -> NotAuthorized | NotAuthenticated:
    """Return the error for a device whose ``status`` (``None``: it is gone) does not let it call.

    ``replaced`` is not a status: the token belongs to a key that has been replaced since.
    """
    if status == REPLACED:
        return NotAuthenticated(message="The key of this device was replaced; get a new token with the new key")
    return NotAuthorized(message=f"This device is {status or 'unknown'}; only an active device may call")

"""Define the caller of a request, and open transactions with its rights.

A caller's ``scope`` is the widest part of the tenant tree that it may access. Queries filter by it
(``workflows.tenants.scope``). Each transaction begins by passing the scope to the database, so that row-level security filters
a second time.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.connection import Connection
from workflows.database.engines import Role, transaction
from workflows.database.hot_path import hot_transaction
from workflows.errors import NotAuthenticated, NotAuthorized


class CallerRole(IntEnum):
    """The roles of callers, from the lowest to the highest.

    A higher role may do, in its tenant, everything that a lower role may do.
    """

    DEVICE = 0
    STAFF = 1
    STORE_MANAGER = 2
    MERCHANT_ADMIN = 3
    PSP_ADMIN = 4
    SYSTEM_OP = 5


class Scope(StrEnum):
    """The part of the tenant tree that a caller sees. The database function ``may_see`` has the same values."""

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
"""The tenant rule: scope → the ids that a row must share with the caller to be visible.

A user's token must contain the same ids.
"""


@dataclass(frozen=True, slots=True)
class Caller:
    """A device or a user with a valid token. The ids that its scope does not need may be empty."""

    id: str
    role: CallerRole
    psp_id: str = ""
    merchant_id: str = ""
    store_id: str = ""
    client_id: str = ""  # identifies the key of the device that the token was issued for

    @property
    def type(self) -> str:
        """``device`` or ``user``: the ``caller_type`` of history rows."""
        return "device" if self.role is CallerRole.DEVICE else "user"

    @property
    def identity(self) -> str:
        """The text that identifies the caller as the owner of idempotency keys.

        The text is independent of the caller's role and store.
        """
        return f"{self.type} {self.id}"

    @property
    def scope(self) -> Scope:
        """The widest part of the tenant tree that this caller may access."""
        return SCOPES[self.role]


REPLACED = "replaced"
"""The value that statements return instead of the device's status if the token was issued for a replaced key."""

# devices is a table of a higher layer. It is read here, so that a suspended device is refused without another round trip.
_ENTER = text("""
    -- enter: set the caller for row-level security and read the status of the device, in one round trip
    SELECT set_config('mpac.scope', :scope, true), set_config('mpac.psp_id', :psp_id, true),
           set_config('mpac.merchant_id', :merchant_id, true), set_config('mpac.store_id', :store_id, true),
           (SELECT CASE WHEN :client_id IN ('', client_id) THEN status ELSE 'replaced' END
            FROM devices WHERE id = :device_id) AS device_status
""")


@asynccontextmanager
async def caller_transaction(caller: Caller, *, is_long: bool = False) -> AsyncIterator[AsyncConnection]:
    """Open a transaction with the rights of ``caller``.

    Every transaction checks the device. So suspending a device or replacing its key takes effect on its next request, although
    its token has not expired. Raises the error of ``device_not_active_error``, and ``ServiceUnavailable`` as ``transaction``
    does.
    """
    async with transaction(Role.CALLER, is_long=is_long) as connection:
        await _enter(connection, caller)
        yield connection


@asynccontextmanager
async def hot_caller_transaction(caller: Caller) -> AsyncIterator[Connection]:
    """Open a transaction as ``caller_transaction`` does, with its rights and checks, on psycopg itself.

    A refund, a bill or a split is ten statements, of which each took 0.3 ms of Python through SQLAlchemy.
    """
    async with hot_transaction(Role.CALLER) as connection:
        await _enter(connection, caller)
        yield connection


async def _enter(connection: Connection, caller: Caller) -> None:
    """Declare ``caller`` for row-level security, and check its device."""
    is_device = caller.role is CallerRole.DEVICE
    parameters = {
        "scope": str(caller.scope),
        "psp_id": caller.psp_id,
        "merchant_id": caller.merchant_id,
        "store_id": caller.store_id,
        "device_id": caller.id if is_device else None,
        "client_id": caller.client_id,
    }
    row = (await connection.execute(_ENTER, parameters)).mappings().one()
    if is_device and row["device_status"] != "active":
        raise device_not_active_error(row["device_status"])


def device_not_active_error(status: str | None) -> NotAuthorized | NotAuthenticated:
    """Return the error for a device that is not allowed to call.

    ``status`` is ``None`` if there is no such device, and ``REPLACED`` if the token was issued for a key that was replaced
    later.
    """
    if status == REPLACED:
        return NotAuthenticated(message="The key of this device was replaced; get a new token with the new key")
    return NotAuthorized(message=f"This device is {status or 'unknown'}; only an active device may call")

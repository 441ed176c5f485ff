"""Register a PSP: the top of a tenant. No route does this; installations and ``mpac seed`` do."""

from typing import Any

from sqlalchemy import func, insert

from workflows.errors import NotAuthorized
from workflows.ids import new_id
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.models import Psp


async def register_psp(name: str, *, caller: Caller) -> dict[str, Any]:
    """A new PSP's row. Raises ``NotAuthorized`` for anybody but a system operator."""
    if caller.scope is not Scope.SYSTEM:
        raise NotAuthorized(message="Only a system operator registers PSPs")
    row = {"id": new_id("psp"), "name": name, "created_at": func.now()}
    async with caller_transaction(caller) as connection:
        made = await connection.execute(insert(Psp).values(row).returning(*Psp.__table__.columns))
        return dict(made.mappings().one())

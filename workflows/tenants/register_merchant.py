"""Register a merchant with a PSP."""

from typing import Any

from sqlalchemy import func, insert, select

from workflows.errors import Detail, InvalidRequest, ResourceNotFound
from workflows.ids import new_id
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.models import Merchant, Psp


async def register_merchant(name: str, *, psp_id: str | None, caller: Caller) -> dict[str, Any]:
    """A new merchant's row. ``psp_id`` may be left out by a PSP's admin, who has no other.

    Raises ``InvalidRequest`` where a system operator names no PSP, ``ResourceNotFound`` where there is no such PSP or
    it is not the caller's.
    """
    owner = _owner(psp_id, caller)
    row = {"id": new_id("merchant"), "psp_id": owner, "name": name, "created_at": func.now(), "updated_at": func.now()}
    async with caller_transaction(caller) as connection:
        if (await connection.execute(select(Psp.id).where(Psp.id == owner))).scalar() is None:
            raise _no_such_psp()
        made = await connection.execute(insert(Merchant).values(row).returning(*Merchant.__table__.columns))
        return dict(made.mappings().one())


def _owner(psp_id: str | None, caller: Caller) -> str:
    if caller.scope is Scope.SYSTEM:
        if psp_id is None:
            raise InvalidRequest(Detail("psp_id", "Say for which PSP this is"))
        return psp_id
    if psp_id is not None and psp_id != caller.psp_id:
        raise _no_such_psp()
    return caller.psp_id


def _no_such_psp() -> ResourceNotFound:
    return ResourceNotFound(Detail("psp_id", "There is no such PSP"))

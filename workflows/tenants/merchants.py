"""Register, change and read merchants, and register the PSPs above them.

No route registers a PSP. The operator of an installation or ``mpac seed`` does.
"""

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import func, insert, select, update

from workflows.errors import Detail, InvalidRequest, NotAuthorized, ResourceNotFound
from workflows.ids import new_id
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.models import Merchant, MerchantRow, Psp
from workflows.tenants.query_helpers import one_row, page_of
from workflows.tenants.scope import visible_to

MERCHANT_FIELDS = ("id", "psp_id", "name", "created_at", "updated_at")


async def register_psp(name: str, *, caller: Caller) -> dict[str, Any]:
    """Register a PSP and return its row. Raises ``NotAuthorized`` unless the caller is a system operator."""
    if caller.scope is not Scope.SYSTEM:
        raise NotAuthorized(message="Only a system operator registers PSPs")
    row = {"id": new_id("psp"), "name": name, "created_at": func.now()}
    async with caller_transaction(caller) as connection:
        made = await connection.execute(insert(Psp).values(row).returning(*Psp.__table__.columns))
        return dict(made.mappings().one())


async def register_merchant(name: str, *, psp_id: str | None, caller: Caller) -> MerchantRow:
    """Register a merchant with a PSP and return its row.

    A PSP's admin may omit ``psp_id``. Raises ``InvalidRequest`` if a system operator omits it, and ``ResourceNotFound`` if the
    caller sees no such PSP.
    """
    owner = _resolve_psp(psp_id, caller)
    row = {"id": new_id("merchant"), "psp_id": owner, "name": name, "created_at": func.now(), "updated_at": func.now()}
    async with caller_transaction(caller) as connection:
        if (await connection.execute(select(Psp.id).where(Psp.id == owner))).scalar() is None:
            raise _unknown_psp_error()
        made = await connection.execute(insert(Merchant).values(row).returning(*Merchant.__table__.columns))
        return cast(MerchantRow, dict(made.mappings().one()))


async def change_merchant(merchant_id: str, changes: dict[str, Any], *, caller: Caller) -> MerchantRow:
    """Set the columns in ``changes`` to new values and return the merchant's row.

    Raises ``ResourceNotFound``.
    """
    statement = (
        update(Merchant)
        .where(Merchant.id == merchant_id, *visible_to(caller, Merchant.id))
        .values(**changes, updated_at=func.now())
        .returning(*Merchant.__table__.columns)
    )
    async with caller_transaction(caller) as connection:
        return cast(MerchantRow, await one_row(connection, statement))


async def read_merchant(merchant_id: str, *, caller: Caller) -> MerchantRow:
    """Return the row of a merchant. Raises ``ResourceNotFound``."""
    statement = select(Merchant.__table__).where(Merchant.id == merchant_id, *visible_to(caller, Merchant.id))
    async with caller_transaction(caller) as connection:
        return cast(MerchantRow, await one_row(connection, statement))


async def list_merchants(*, caller: Caller, limit: int, before: str | None) -> list[MerchantRow]:
    """List up to ``limit`` merchants, newest first, older than the id ``before``."""
    async with caller_transaction(caller) as connection:
        statement = select(Merchant.__table__).where(*visible_to(caller, Merchant.id))
        return cast(list[MerchantRow], await page_of(connection, statement, by=Merchant.id, limit=limit, before=before))


def merchant_fields(row: MerchantRow) -> dict[str, Any]:
    """Return a merchant as the contract's fields."""
    values: Mapping[str, object] = row
    return {name: values[name] for name in MERCHANT_FIELDS}


def _resolve_psp(psp_id: str | None, caller: Caller) -> str:
    if caller.scope is Scope.SYSTEM:
        if psp_id is None:
            raise InvalidRequest(Detail("psp_id", "Name the PSP"))
        return psp_id
    if psp_id is not None and psp_id != caller.psp_id:
        raise _unknown_psp_error()
    return caller.psp_id


def _unknown_psp_error() -> ResourceNotFound:
    return ResourceNotFound(Detail("psp_id", "There is no such PSP"))

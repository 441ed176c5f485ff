"""Restrict queries and requests to what their caller may see: the application's filter, in front of row-level security."""

from typing import Any

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.orm import InstrumentedAttribute

from workflows.errors import Detail, InvalidRequest, ResourceNotFound
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.models import Merchant


def visible_to(
    caller: Caller, merchant_id: InstrumentedAttribute[Any], store_id: InstrumentedAttribute[Any] | None = None
) -> list[ColumnElement[bool]]:
    """Return the conditions that keep a query within ``caller``'s tenant, given the columns that name a row's owner."""
    if caller.scope is Scope.SYSTEM:
        return []
    if caller.scope is Scope.PSP:
        return [merchant_id.in_(select(Merchant.id).where(Merchant.psp_id == caller.psp_id))]
    conditions: list[ColumnElement[bool]] = [merchant_id == caller.merchant_id]
    if caller.scope is Scope.STORE and store_id is not None:
        conditions.append(store_id == caller.store_id)
    return conditions


IN_SCOPE = """CASE CAST(:own_scope AS text)
        WHEN 'store' THEN merchant_id = :own_merchant_id AND store_id = :own_store_id
        WHEN 'merchant' THEN merchant_id = :own_merchant_id
        WHEN 'psp' THEN psp_of(merchant_id) = :own_psp_id
        ELSE CAST(:own_scope AS text) = 'system' END"""
"""The same rule as a condition for statements written as text, with the parameters of ``scope_params``."""


def scope_params(caller: Caller) -> dict[str, str]:
    """Return the parameters of ``IN_SCOPE``."""
    return {
        "own_scope": str(caller.scope),
        "own_psp_id": caller.psp_id,
        "own_merchant_id": caller.merchant_id,
        "own_store_id": caller.store_id,
    }


def resolve_store(caller: Caller, requested: str | None) -> str:
    """Return the store a request is for: the caller's own, or the one that a caller above the stores names.

    Raises ``InvalidRequest`` if such a caller names none, and ``ResourceNotFound`` if a store's caller names another store.
    """
    if caller.scope is not Scope.STORE:
        if not requested:
            raise InvalidRequest(Detail("store_id", "Say for which store this is"))
        return requested
    if requested and requested != caller.store_id:
        raise ResourceNotFound(Detail("store_id", "There is no such store"))
    return caller.store_id


# This reads tables of layers above tenants, by name, because an id in a request may be any entity's.
_MERCHANT = text("""
    -- merchant: of a store, or of an entity in one; ids are unique over all tables
    SELECT merchant_id FROM stores WHERE id = :id
    UNION ALL SELECT merchant_id FROM payments WHERE id = :id
    UNION ALL SELECT merchant_id FROM orders WHERE id = :id
    UNION ALL SELECT merchant_id FROM bills WHERE id = :id
    UNION ALL SELECT merchant_id FROM settlements WHERE id = :id
    LIMIT 1
""")


async def resolve_merchant(caller: Caller, entity_id: str) -> str | None:
    """Return the merchant of the entity that a request names, for callers above the merchants.

    ``None`` if ``caller`` sees no such entity. Raises what ``caller_transaction`` raises.
    """
    async with caller_transaction(caller) as connection:
        merchant_id: str | None = (await connection.execute(_MERCHANT, {"id": entity_id})).scalar()
    return merchant_id

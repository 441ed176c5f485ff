"""The first wall: each query's own filter by what its caller may see (row-level security is the second)."""

from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute

from workflows.tenants.caller import Caller, Scope
from workflows.tenants.models import Merchant


def visible_to(
    caller: Caller, merchant_id: InstrumentedAttribute[Any], store_id: InstrumentedAttribute[Any] | None = None
) -> list[ColumnElement[bool]]:
    """The conditions that keep a query within ``caller``'s tenant, given the columns that say whose a row is."""
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
"""The same as a condition of a statement written out, with the parameters of ``scope_params``."""


def scope_params(caller: Caller) -> dict[str, str]:
    """The parameters of ``IN_SCOPE``."""
    return {
        "own_scope": str(caller.scope),
        "own_psp_id": caller.psp_id,
        "own_merchant_id": caller.merchant_id,
        "own_store_id": caller.store_id,
    }

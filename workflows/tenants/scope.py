"""Restrict queries, requests and answers to what their caller may see.

This is the application's own filter; row-level security filters a second time, independently.
The rule is the table ``TENANT_IDS``: a row is visible if its owner has the caller's ids. ``visible_to`` and
``scope_condition`` are made from it. The function ``may_see`` in the database states the rule a second time, on purpose, and
tests/integration/tenants/test_tenant_rule.py compares the two.

``with_progress`` hides the workers' progress with a payment or refund from devices and staff, because a terminal that knows
when a row is due next would act on it. Answers to a POST do not have it either, because a repeated request gets the stored
answer byte for byte, whatever the role of its caller.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.orm import InstrumentedAttribute

from workflows.errors import Detail, InvalidRequest, ResourceNotFound
from workflows.tenants.caller import TENANT_IDS, Caller, CallerRole, Scope, caller_transaction
from workflows.tenants.models import Merchant


def visible_to(
    caller: Caller, merchant_id: InstrumentedAttribute[Any], store_id: InstrumentedAttribute[Any] | None = None
) -> list[ColumnElement[bool]]:
    """Return the conditions that keep a query within ``caller``'s tenant.

    ``merchant_id`` and ``store_id`` are the columns that name a row's owner.

    Without ``store_id``, rows belong to a merchant as a whole, and a store's caller sees all of its merchant's.
    """
    columns = {"merchant_id": merchant_id, "store_id": store_id}
    conditions: list[ColumnElement[bool]] = []
    for name in TENANT_IDS[caller.scope]:
        if name == "psp_id":  # not psp_of(): the subquery lets an index on merchant_id be used
            conditions.append(merchant_id.in_(select(Merchant.id).where(Merchant.psp_id == caller.psp_id)))
        elif (column := columns[name]) is not None:
            conditions.append(column == getattr(caller, name))
    return conditions


def scope_condition(*, merchant_id: str = "merchant_id", store_id: str = "store_id", caller: str = ":own_") -> str:
    """Return the same rule as SQL, for statements written as text.

    ``merchant_id`` and ``store_id`` are expressions for a row's owner. ``caller`` is the prefix of the caller's scope and
    tenant ids: parameters (``:own_``), or the columns of a row per caller (``i.``).
    """
    owner = {"psp_id": f"psp_of({merchant_id})", "merchant_id": merchant_id, "store_id": store_id}
    cases = "\n".join(
        f"        WHEN '{scope}' THEN {' AND '.join(f'{owner[name]} = {caller}{name}' for name in names) or 'true'}"
        for scope, names in TENANT_IDS.items()
    )
    return f"CASE CAST({caller}scope AS text)\n{cases}\n        ELSE false END"


IN_SCOPE = scope_condition()
"""The condition for a table with ``merchant_id`` and ``store_id``, with the parameters of ``scope_params``."""


def scope_params(caller: Caller) -> dict[str, str]:
    """Return the parameters of ``IN_SCOPE``."""
    return {
        "own_scope": str(caller.scope),
        "own_psp_id": caller.psp_id,
        "own_merchant_id": caller.merchant_id,
        "own_store_id": caller.store_id,
    }


def resolve_store(caller: Caller, requested: str | None) -> str:
    """Return the store of a request: the caller's own, or the one that a caller above the stores names.

    Raises ``InvalidRequest`` if such a caller names none, and ``ResourceNotFound`` if a store's caller names another store.
    """
    if caller.scope is not Scope.STORE:
        if not requested:
            raise InvalidRequest(Detail("store_id", "Say for which store this is"))
        return requested
    if requested and requested != caller.store_id:
        raise ResourceNotFound(Detail("store_id", "There is no such store"))
    return caller.store_id


# orders, bills, payments and settlements are tables of a higher layer: the id in a request may be of any of them.
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


PROGRESS = ("due_at", "in_doubt_since", "attempts", "inquiries")

Serializer = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Turns a row into the fields of the contract."""


def with_progress(caller: Caller, serialize: Serializer) -> Serializer:
    """Return ``serialize``, extended by the fields of ``PROGRESS`` if ``caller`` may see them."""
    if caller.role < CallerRole.STORE_MANAGER:
        return serialize
    return lambda row: {**serialize(row), **{name: row[name] for name in PROGRESS}}

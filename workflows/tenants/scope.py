"""Restrict queries, requests and answers to what their caller may see.

This is the application's own filter; row-level security filters a second time, independently. The rule is the table
``TENANT_IDS``: a row is visible if its owner has the caller's ids. ``visible_to`` and ``scope_condition`` are made from it.
The database function ``may_see`` states the rule a second time, on purpose, and tests/integration/tenants/test_tenant_rule.py
compares the two.

``with_progress`` shows the workers' progress with a payment or refund to store managers and above, but not to devices and
staff, because a terminal that knows when a row is due next would act on it. Answers to a POST never contain the progress,
because a repeated request gets the stored answer byte for byte, whatever the role of its caller.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.orm import InstrumentedAttribute

from workflows.errors import Detail, InvalidRequest, ResourceNotFound
from workflows.tenants.caller import TENANT_IDS, Caller, CallerRole, Scope, caller_transaction
from workflows.tenants.models import Merchant

Filterable = InstrumentedAttribute[Any] | ColumnElement[Any]


def visible_to(
    caller: Caller, merchant_id: Filterable, store_id: Filterable | None = None
) -> list[ColumnElement[bool]]:
    """Return the conditions that keep a query within the tenant of ``caller``.

    ``merchant_id`` and ``store_id`` are the columns that identify the owner of a row. Without ``store_id``, rows belong to a
    merchant as a whole, and a caller of a store sees all rows of its merchant.
    """
    columns = {"merchant_id": merchant_id, "store_id": store_id}
    conditions: list[ColumnElement[bool]] = []
    for name in TENANT_IDS[caller.scope]:
        if name == "psp_id":  # not psp_of(), because with the subquery an index on merchant_id can be used
            conditions.append(merchant_id.in_(select(Merchant.id).where(Merchant.psp_id == caller.psp_id)))
        elif (column := columns[name]) is not None:
            conditions.append(column == getattr(caller, name))
    return conditions


def scope_condition(*, merchant_id: str = "merchant_id", store_id: str = "store_id", caller: str = ":own_") -> str:
    """Return the rule of ``visible_to`` as an SQL expression, for statements that are written as text.

    ``merchant_id`` and ``store_id`` are SQL expressions for the owner of a row. ``caller`` is the prefix of the caller's
    ``scope``, ``psp_id``, ``merchant_id`` and ``store_id`` in the expression: ``:own_`` if they are parameters, ``i.`` if they
    are columns of a row per caller.
    """
    owner = {"psp_id": f"psp_of({merchant_id})", "merchant_id": merchant_id, "store_id": store_id}
    cases = "\n".join(
        f"        WHEN '{scope}' THEN {' AND '.join(f'{owner[name]} = {caller}{name}' for name in names) or 'true'}"
        for scope, names in TENANT_IDS.items()
    )
    return f"CASE CAST({caller}scope AS text)\n{cases}\n        ELSE false END"


def check_owner(caller: Caller, owner: Mapping[str, str | None]) -> None:
    """Raise ``RuntimeError`` unless the ids of a row's ``owner`` put the row into the scope of ``caller``.

    This is for rows that were read under a role that sees every tenant: a statement that filters wrongly must not show one.
    """
    if any(owner[name] != getattr(caller, name) for name in TENANT_IDS[caller.scope]):
        raise RuntimeError("a statement returned a row of another tenant")


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
    """Return the store of a request.

    This is the caller's own store or, for callers above the stores, the requested store.

    Raises ``InvalidRequest`` if a caller above the stores names no store, and ``ResourceNotFound`` if a caller of a
    store names a different store.
    """
    if caller.scope is not Scope.STORE:
        if not requested:
            raise InvalidRequest(Detail("store_id", "Name the store"))
        return requested
    if requested and requested != caller.store_id:
        raise ResourceNotFound(Detail("store_id", "There is no such store"))
    return caller.store_id


# orders, bills, payments and settlements are tables of a higher layer. They are read here, because a request may name any of
# their rows.
_MERCHANT = text("""
    -- merchant: the merchant of a store or of an entity in a store; ids are unique over all tables
    SELECT merchant_id FROM stores WHERE id = :id
    UNION ALL SELECT merchant_id FROM payments WHERE id = :id
    UNION ALL SELECT merchant_id FROM orders WHERE id = :id
    UNION ALL SELECT merchant_id FROM bills WHERE id = :id
    UNION ALL SELECT merchant_id FROM settlements WHERE id = :id
    LIMIT 1
""")


async def resolve_merchant(caller: Caller, entity_id: str) -> str | None:
    """Return the merchant of the entity that a request names, for callers above the merchants.

    Return ``None`` if ``caller`` sees no such entity. Raises the errors of ``caller_transaction``.
    """
    async with caller_transaction(caller) as connection:
        merchant_id: str | None = (await connection.execute(_MERCHANT, {"id": entity_id})).scalar()
    return merchant_id


PROGRESS = ("due_at", "in_doubt_since", "attempts", "inquiries")

Serializer = Callable[[Mapping[str, Any]], dict[str, Any]]
"""The type of functions that turn a row into the contract's fields."""


def with_progress(caller: Caller, serialize: Serializer) -> Serializer:
    """Return ``serialize``, or a serialiser that adds ``PROGRESS`` if ``caller`` may see the progress."""
    if caller.role < CallerRole.STORE_MANAGER:
        return serialize
    return lambda row: {**serialize(row), **{name: row[name] for name in PROGRESS}}

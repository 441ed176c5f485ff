"""Set which providers send no statements for a store, so that its days are signed off without them.

The acquirer behind a terminal's own card application often reports on paper only. A policy is a row of an append-only table
with its author and reason; the newest row of a provider is in force. Closed settlements that wait for a statement of that
provider are compared again.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select, text

from workflows.settlements.models import StatementPolicy
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.models import Store
from workflows.tenants.query_helpers import one_row
from workflows.tenants.scope import scope_condition, scope_params, visible_to

Statements = Literal["expected", "none"]

_LOCK = text(f"""
    SELECT id, merchant_id FROM stores WHERE id = :store_id AND {scope_condition(store_id="id")} FOR NO KEY UPDATE
""")
_WRITE = text("""
    -- write: after the lock, so that the number is unique
    INSERT INTO statement_policies (store_id, provider, number, merchant_id, statements, note, changed_at, changed_by)
    SELECT :store_id, :provider, coalesce(max(number), 0) + 1, :merchant_id, :statements, :note, clock_timestamp(), :by
    FROM statement_policies WHERE store_id = :store_id AND provider = :provider RETURNING *
""")
_RUN_AGAIN = text("""
    -- run again: closed settlements of the store whose last run left this provider's lines uncompared
    INSERT INTO reconciliation_tries AS t (settlement_id, merchant_id, store_id, tries, due_at)
    SELECT id, merchant_id, store_id, 0, now() FROM settlements
    WHERE store_id = :store_id AND status = 'closed' AND jsonb_path_exists(
        uncompared, '$.providers[*] ? (@.provider == $name)', jsonb_build_object('name', CAST(:provider AS text)))
    ON CONFLICT (settlement_id) DO UPDATE SET due_at = now()
""")


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """A policy to set: whether ``provider`` sends statements, and why."""

    provider: str
    statements: Statements
    note: str


async def set_policy(store_id: str, request: PolicyRequest, *, caller: Caller) -> dict[str, Any]:
    """Write a policy and return its row. Raises ``ResourceNotFound``, ``ServiceUnavailable``."""
    wanted = {"provider": request.provider, "statements": request.statements, "note": request.note, "by": caller.id}
    async with caller_transaction(caller) as connection:
        store = await one_row(connection, _LOCK, {"store_id": store_id, **scope_params(caller)})
        policy = {**wanted, "store_id": store_id, "merchant_id": store["merchant_id"]}
        row = await one_row(connection, _WRITE, policy)
        await connection.execute(_RUN_AGAIN, {"store_id": store_id, "provider": request.provider})
    return row


async def list_policies(store_id: str, *, caller: Caller) -> list[dict[str, Any]]:
    """Return the last hundred policies of a store, newest first. Raises ``ResourceNotFound``."""
    columns = StatementPolicy.__table__.columns
    store = select(Store.id).where(Store.id == store_id, *visible_to(caller, Store.merchant_id, Store.id))
    found = select(*columns).where(columns.store_id == store_id).order_by(columns.changed_at.desc()).limit(100)
    async with caller_transaction(caller) as connection:
        await one_row(connection, store)
        return [dict(row) for row in (await connection.execute(found)).mappings()]


POLICY_FIELDS = ("store_id", "provider", "statements", "note", "changed_at", "changed_by")


def policy_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return the API fields of a policy."""
    return {name: row[name] for name in POLICY_FIELDS}

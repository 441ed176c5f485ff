"""The tenant rule exists in Python (``TENANT_IDS``) and in the database (``may_see``), and the two must agree.

Four statements are built from the Python table: the conditions of ``visible_to``, the text of ``scope_condition``, the join of
the group lookup, and a gathered read. Each runs with row-level security open to all rows; then row-level security runs alone,
for the caller in question.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import psycopg
import pytest
from psycopg.rows import DictRow
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.conftest import MakeTenant
from tests.factories import Tenant
from tests.polling import GENEROUS_SECONDS
from workflows.database.engines import rows_parameter
from workflows.errors import ResourceNotFound
from workflows.ids import new_id
from workflows.requests.batch_lookup import LOOKUP_COLUMNS, LOOKUP_JOINS, lookup_row
from workflows.requests.idempotency import Key
from workflows.tenants.caller import Caller, CallerRole, caller_transaction
from workflows.tenants.gathered_reads import GatheredReads, read_statement
from workflows.tenants.models import Store
from workflows.tenants.scope import scope_condition, scope_params, visible_to

EVERYTHING = Caller("usr_op", CallerRole.SYSTEM_OP)
BY_TEXT = text(f"SELECT id FROM stores WHERE id = ANY(:ids) AND {scope_condition(store_id='id')}")
BY_LOOKUP = text(
    f"SELECT s.id FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS i({LOOKUP_COLUMNS}) {LOOKUP_JOINS} ORDER BY i.n"
)

BY_READ = read_statement("""
    SELECT r.* FROM (SELECT id, merchant_id, id AS store_id FROM stores) r WHERE r.id = i.id
""")

Places = dict[str, Tenant]
"""The caller's store, another store of its merchant, a store of another merchant of its PSP, and another tenant's store."""


@pytest.fixture
async def places(make_tenant: MakeTenant, admin: psycopg.AsyncConnection[DictRow]) -> Places:
    own = await make_tenant()
    neighbour = replace(own, store_id=new_id("store"))
    sibling = replace(own, merchant_id=new_id("merchant"), store_id=new_id("store"))
    await admin.execute(
        "INSERT INTO merchants VALUES (%s, %s, 'n', now(), now())", [sibling.merchant_id, sibling.psp_id]
    )
    for tenant in (neighbour, sibling):
        await admin.execute(
            "INSERT INTO stores VALUES (%s, %s, 'n', 'JPY', 'Asia/Tokyo', '00:00', now(), now())",
            [tenant.store_id, tenant.merchant_id],
        )
    return {"own": own, "neighbour": neighbour, "sibling": sibling, "stranger": await make_tenant()}


CALLERS: dict[str, tuple[Callable[[Places], Caller], set[str]]] = {
    "device": (lambda at: at["own"].device, {"own"}),
    "staff": (lambda at: at["own"].staff, {"own"}),
    "manager of the neighbour store": (
        lambda at: Caller("u", CallerRole.STORE_MANAGER, "", at["own"].merchant_id, at["neighbour"].store_id),
        {"neighbour"},
    ),
    "token that mixes two tenants": (
        lambda at: Caller("u", CallerRole.STORE_MANAGER, "", at["own"].merchant_id, at["stranger"].store_id),
        set(),
    ),
    "merchant admin": (
        lambda at: Caller("u", CallerRole.MERCHANT_ADMIN, "", at["own"].merchant_id),
        {"own", "neighbour"},
    ),
    "PSP admin": (
        lambda at: Caller("u", CallerRole.PSP_ADMIN, at["own"].psp_id),
        {"own", "neighbour", "sibling"},
    ),
    "system operator": (lambda _: EVERYTHING, {"own", "neighbour", "sibling", "stranger"}),
    "caller without ids": (lambda _: Caller("u", CallerRole.STAFF), set()),
}


@pytest.mark.parametrize("name", CALLERS)
async def test_python_and_row_level_security_show_a_caller_the_same_stores(places: Places, name: str) -> None:
    make, expected = CALLERS[name]
    caller = make(places)
    ids = {tenant.store_id: place for place, tenant in places.items()}
    async with caller_transaction(caller) as connection:
        policy = await connection.execute(text("SELECT id FROM stores WHERE id = ANY(:ids)"), {"ids": list(ids)})
        seen = {"row-level security": {ids[row.id] for row in policy}}
    async with caller_transaction(EVERYTHING) as connection:
        conditions = visible_to(caller, Store.merchant_id, Store.id)
        found = await connection.execute(select(Store.id).where(Store.id.in_(ids), *conditions))
        seen["visible_to"] = {ids[row.id] for row in found}
        found = await connection.execute(BY_TEXT, {"ids": list(ids), **scope_params(caller)})
        seen["scope_condition"] = {ids[row.id] for row in found}
        seen["group lookup"] = {ids[store_id] for store_id in await _looked_up(connection, caller, places)}
    seen["gathered read"] = {ids[store_id] for store_id in await _read(caller, ids)}
    assert seen == dict.fromkeys(seen, expected)


async def _looked_up(connection: AsyncConnection, caller: Caller, places: Places) -> list[str]:
    """Return the stores that a group lookup finds for ``caller``.

    The lookup is made for the stores that the caller's requests may name.
    """
    key = Key("k", "POST", "/x", caller.identity, "f", "m")
    named = [caller.store_id] if caller.store_id else [tenant.store_id for tenant in places.values()]
    rows = [lookup_row(n, caller, key, store_id=store_id) for n, store_id in enumerate(named)]
    found = await connection.execute(BY_LOOKUP, {"rows": rows_parameter(rows)})
    return [row.id for row in found]


async def _read(caller: Caller, store_ids: Iterable[str]) -> list[str]:
    """Return the stores that ``caller`` gets from reads that share a statement."""
    reads = GatheredReads(BY_READ, build=dict, timeout_seconds=GENEROUS_SECONDS)
    found = await asyncio.gather(*(reads.read(id_, caller=caller) for id_ in store_ids), return_exceptions=True)
    assert all(isinstance(one, dict | ResourceNotFound) for one in found), found
    return [one["id"] for one in found if isinstance(one, dict)]

"""Start runs and resolve breaks over HTTP."""

from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.reconciliation_helpers import closed_settlement, mirror, some_sales, upload
from tests.reference_matcher import Ours
from workflows.clock import now

Admin = psycopg.AsyncConnection[DictRow]


def old_sales(count: int) -> list[Ours]:
    """Return sales that are old enough to be in a statement."""
    return some_sales(count, at=(now() - timedelta(hours=30)).replace(microsecond=0))


async def reconcile(api: Api, tenant: Tenant, settlement_id: str) -> Answer:
    """Start a run as the store's manager."""
    manager = api.signer.user(tenant, role="store_manager")
    return await api.post(f"/settlements/{settlement_id}/reconcile", as_=manager)


async def breaks(api: Api, tenant: Tenant, settlement_id: str, query: str = "") -> list[dict[str, Any]]:
    """Return the breaks of the last run."""
    manager = api.signer.user(tenant, role="store_manager")
    answer = await api.get(f"/settlements/{settlement_id}/breaks{query}", as_=manager)
    assert answer.status == 200
    found: list[dict[str, Any]] = answer.body["data"]
    return found


async def resolve(api: Api, tenant: Tenant, break_id: str, *, role: str = "merchant_admin", **body: Any) -> Answer:
    """Resolve a break with the fields of ``body``."""
    return await api.post(f"/breaks/{break_id}/resolve", body, as_=api.signer.user(tenant, role=role))


async def one_break(api: Api, admin: Admin, tenant: Tenant, **changes: Any) -> tuple[str, list[Ours], dict[str, Any]]:
    """Return a settlement of three sales, the sales, and the break that the statement causes.

    The break is about the first sale.
    """
    sales = old_sales(3)
    settlement_id = await closed_settlement(admin, tenant, sales)
    await upload(tenant, settlement_id, [mirror(sales[0], **changes), *(mirror(line) for line in sales[1:])])
    await reconcile(api, tenant, settlement_id)
    (found,) = await breaks(api, tenant, settlement_id)
    return settlement_id, sales, found

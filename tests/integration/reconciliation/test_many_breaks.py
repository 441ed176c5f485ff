"""If a settlement's statement is missing, every line is a break: runs stay limited, pages and resolutions fast."""

from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.factories import Tenant
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.reconciliation.reconciliation_helpers import old_sales
from tests.reconciliation_helpers import closed_settlement
from workflows.clock import now
from workflows.providers.registry import Providers
from workflows.reconciliation import auto_reconcile, reconcile
from workflows.reconciliation.record_run import record_breaks
from workflows.settings import Settings

Admin = psycopg.AsyncConnection[DictRow]
MANY = 8_000
PAGE = 100


async def plan_of(admin: Admin, query: str, settlement_id: str) -> str:
    """Return PostgreSQL's plan for a query about a settlement with many breaks."""
    await admin.execute("ANALYZE breaks")
    found = await admin.execute(f"EXPLAIN {query}".encode(), {"id": settlement_id})
    return "\n".join(row["QUERY PLAN"] for row in await found.fetchall())


async def test_thousands_of_breaks_are_counted_paged_and_resolved_one_by_one(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    settlement_id = await closed_settlement(admin, tenant, old_sales(MANY))
    manager, merchant_admin = (api.signer.user(tenant, role=role) for role in ("store_manager", "merchant_admin"))
    path = f"/settlements/{settlement_id}"
    for number in (1, 2):  # first found, then found again
        run = await api.post(f"{path}/reconcile", as_=manager)
        assert (run.status, run.body["run"], run.body["open_breaks"]) == (200, number, MANY)
        assert len(run.raw) < 10_000  # the answer contains sums, not the breaks
    seen: list[str] = []
    cursor = ""
    for _ in range(5):
        page = (await api.get(f"{path}/breaks?limit={PAGE}{cursor}", as_=manager)).body
        assert len(page["data"]) == PAGE
        seen += [one["id"] for one in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert len(set(seen)) == 5 * PAGE
    assert seen == sorted(seen, reverse=True)
    for break_id in seen[:3]:
        body = {"resolution": "ignore", "note": "known"}
        assert (await api.post(f"/breaks/{break_id}/resolve", body, as_=merchant_admin)).status == 200
    assert (await api.get(path, as_=manager)).body["open_breaks"] == MANY - 3
    counted = await admin.execute(
        "SELECT count(*) AS count FROM breaks WHERE settlement_id = %s AND resolution IS NULL", [settlement_id]
    )
    assert (await counted.fetchone() or {})["count"] == MANY - 3
    for condition in ("true", "resolution IS NULL"):
        query = (
            f"SELECT * FROM breaks WHERE settlement_id = %(id)s AND run = 2 AND {condition} ORDER BY id DESC LIMIT 101"
        )
        plan = await plan_of(admin, query, settlement_id)
        assert "Index Scan Backward" in plan
        assert "Sort" not in plan


async def test_a_run_that_takes_too_long_answers_503_and_stores_nothing(
    api: Api, admin: Admin, tenant: Tenant, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settlement_id = await closed_settlement(admin, tenant, old_sales(10))

    async def note_for_too_long(connection: AsyncConnection, *about: Any, **more: Any) -> int:
        """Record breaks as usual, and then run a statement that exceeds its time limit."""
        count = await record_breaks(connection, *about, **more)
        await connection.execute(text("SET LOCAL statement_timeout = '50ms'"))
        await connection.execute(text("SELECT pg_sleep(60)"))
        return count

    monkeypatch.setattr(reconcile, "record_breaks", note_for_too_long)
    manager = api.signer.user(tenant, role="store_manager")
    refused = await api.post(f"/settlements/{settlement_id}/reconcile", as_=manager)
    assert (refused.status, refused.code) == (503, "SERVICE_UNAVAILABLE")
    assert "exceeded its time limit" in refused.body["error"]["message"]
    assert int(refused.headers["Retry-After"]) == 60
    found = await admin.execute(
        "SELECT (SELECT count(*) FROM breaks WHERE settlement_id = %(id)s) AS breaks,"
        " (SELECT count(*) FROM reconciliation_runs WHERE settlement_id = %(id)s) AS runs",
        {"id": settlement_id},
    )
    assert await found.fetchone() == {"breaks": 0, "runs": 0}
    providers = Providers({"sandbox": FakeProvider()})
    await auto_reconcile.reconcile_due(settlement_id, worker="w", settings=settings, providers=providers)
    tried = await admin.execute("SELECT * FROM reconciliation_tries WHERE settlement_id = %s", [settlement_id])
    row = await tried.fetchone() or {}
    assert "exceeded its time limit" in row["trouble"]
    assert row["due_at"] > now()  # the worker retries by itself, and no message becomes a dead letter
    monkeypatch.undo()
    assert (await api.post(f"/settlements/{settlement_id}/reconcile", as_=manager)).status == 200

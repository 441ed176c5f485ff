"""A provider that exists only as a row of the table works everywhere, from the store's settings to the ledger."""

from collections.abc import Iterator
from typing import Any

import pytest
import uuid_utils

from tests.conftest import Serve
from tests.contract import forget_documents
from tests.factories import Tenant
from tests.fakes import FakeProvider
from tests.harness import Answer, Api
from workflows.processing.executor import LeaseExecutor
from workflows.providers.base import Unavailable
from workflows.providers.registry import PROVIDERS, Remote, open_providers
from workflows.providers.statement_mapping import StatementMapping
from workflows.refunds.workload import PAYMENTS
from workflows.settings import Settings
from workflows.settlements.open_periods import open_due_periods

WORKER = "worker-of-the-test"
MAPPING = StatementMapping(columns={"our_reference": "Yours", "amount": "Gross", "fee": "Cost"}, currency="JPY")


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """Add the provider to the table and to a rebuilt OpenAPI document, and remove it afterwards."""
    provider = FakeProvider("acme")
    row = Remote(open=lambda _settings: provider, call_seconds=lambda _settings: 1, mapping=MAPPING)
    monkeypatch.setitem(PROVIDERS, "acme", row)
    forget_documents()
    yield provider
    forget_documents()


async def closed(api: Api, tenant: Tenant, manager: str) -> str:
    """Close the store's running settlement, and return its id."""
    (running,) = (await api.get(f"/settlements?store_id={tenant.store_id}&status=open", as_=manager)).body["data"]
    answer = await api.post(f"/settlements/{running['id']}/close", as_=manager)
    assert (answer.status, answer.body["breakdown"]["qr"]["acme"]["count"]) == (200, 1)
    return str(running["id"])


async def post(api: Api, path: str, body: Any, *, as_: str, **headers: str) -> Answer:
    return await api.post(path, body, as_=as_, key=uuid_utils.uuid7().hex, headers=headers)


async def test_a_provider_added_to_the_table_is_charged_and_reconciled(
    serve: Serve, settings: Settings, tenant: Tenant, acme: FakeProvider
) -> None:
    await open_due_periods(worker=WORKER)
    async with serve() as api:
        admin, manager = (api.signer.user(tenant, role=role) for role in ("merchant_admin", "store_manager"))
        added = await post(
            api, f"/stores/{tenant.store_id}/providers", {"provider": "acme", "methods": ["qr"]}, as_=admin
        )
        assert added.status == 201, added.raw
        paid = await api.pay(tenant, method={"type": "qr", "mode": "cpm", "provider": "acme"})
        processor = LeaseExecutor(PAYMENTS, settings=settings, providers=open_providers(settings), worker=WORKER)
        await processor.process([paid.body["id"]])
        assert (await api.get(f"/payments/{paid.body['id']}", as_=tenant)).body["status"] == "completed"
        assert acme.calls == [("charge", f"{paid.body['id']}:1")]
        settlement_id = await closed(api, tenant, manager)
        acme.statements = [Unavailable("not written yet")]
        early = (await api.post(f"/settlements/{settlement_id}/reconcile", as_=manager)).body
        assert [(one["provider"], one["trouble"]) for one in early["fetched"]] == [("acme", "not written yet")]
        assert early["summary"]["categories"]["expected"]["count"] == 1
        file = f"Yours,Gross,Cost\n{paid.body['id']}:1,1000,0\n".encode()
        path = f"/settlements/{settlement_id}/statements?provider=acme"
        assert (await post(api, path, file, as_=manager, **{"Content-Type": "text/csv"})).status == 201
        run = (await api.post(f"/settlements/{settlement_id}/reconcile", as_=manager)).body
    assert (run["summary"]["categories"]["matched"]["count"], run["status"]) == (1, "reconciled")

"""A new MPAC_SECRET_KEY causes only the interruptions that docs/production.md lists."""

import pytest
from pydantic import SecretStr

from tests.conftest import Serve
from tests.factories import Tenant
from tests.harness import Api
from tests.integration.devices.provisioning import Provisioning

NEW = SecretStr("another secret key")


async def test_credentials_must_be_sent_again_after_the_secret_key_changed(
    serve: Serve, api: Api, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    admin = api.signer.user(tenant, role="merchant_admin")
    providers = f"/stores/{tenant.store_id}/providers"
    sent = {"credentials": {"api_key": "k"}}
    assert (await api.call("PATCH", f"{providers}/sandbox", sent, as_=admin)).status == 200
    async with serve(secret_key=NEW) as rotated:
        read = await rotated.get(f"{providers}/sandbox", as_=admin)
        assert (read.status, read.body["credentials_set"]) == (200, [])
        assert (await rotated.get(providers, as_=admin)).status == 200
        changed_priority = await rotated.call("PATCH", f"{providers}/sandbox", {"priority": 2}, as_=admin)
        assert (changed_priority.status, changed_priority.body["credentials_set"]) == (200, [])
        assert "store_provider.credentials_unreadable" in {getattr(record, "event", "") for record in caplog.records}
        changed = await rotated.call("PATCH", f"{providers}/sandbox", sent, as_=admin)
        assert (changed.status, changed.body["credentials_set"]) == (200, ["api_key"])
        read = await rotated.get(f"{providers}/sandbox", as_=admin)
        assert (read.status, read.body["credentials_set"]) == (200, ["api_key"])


async def test_request_repeated_after_the_secret_key_changed_is_refused_and_makes_no_second_payment(
    serve: Serve, api: Api, tenant: Tenant
) -> None:
    first = await api.pay(tenant, key="rotated", client_reference="till-1")
    assert first.status == 201
    async with serve(secret_key=NEW) as rotated:
        repeated = await rotated.pay(tenant, key="rotated", client_reference="till-1")
        assert (repeated.status, repeated.code) == (422, "IDEMPOTENCY_KEY_REUSED")
        found = await rotated.get("/payments?client_reference=till-1", as_=tenant)
        assert [payment["id"] for payment in found.body["data"]] == [first.body["id"]]


async def test_unused_activation_code_is_void_after_the_secret_key_changed(
    serve: Serve, api: Api, tenant: Tenant
) -> None:
    before = Provisioning(api, tenant)
    terminal = await before.register()
    code = await before.code(terminal)
    async with serve(secret_key=NEW) as rotated:
        after = Provisioning(rotated, tenant)
        assert (await after.activate(terminal, code)).status == 401
        assert (await after.activate(terminal, await after.code(terminal))).status == 200

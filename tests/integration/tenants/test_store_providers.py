"""The providers of a store are managed over HTTP, and their credentials are never shown."""

import asyncio

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.harness import Answer, Api
from workflows.settings import Settings
from workflows.tenants.store_providers import Vault

SECRET = "sk_very_secret_indeed"


class Store:
    """A store without providers, and requests by its merchant's administrator."""

    def __init__(self, api: Api, tenant: Tenant, store_id: str) -> None:
        self.api, self.tenant, self.id = api, tenant, store_id
        self.admin = api.signer.user(tenant, role="merchant_admin")

    async def call(self, method: str, path: str = "", body: object = None) -> Answer:
        """Send a request to a path below the store's providers."""
        return await self.api.call(method, f"/stores/{self.id}/providers{path}", body, as_=self.admin)

    async def add(self, **fields: object) -> Answer:
        """Add the sandbox provider."""
        return await self.call("POST", body={"provider": "sandbox", "methods": ["card", "qr"], **fields})


@pytest.fixture
async def store(api: Api, tenant: Tenant) -> Store:
    admin = api.signer.user(tenant, role="merchant_admin")
    return Store(api, tenant, (await api.post("/stores", {"name": "New"}, as_=admin)).body["id"])


async def test_a_provider_is_added_read_changed_and_removed(store: Store) -> None:
    added = await store.add(priority=3, enabled=False)
    assert added.status == 201
    told = {
        name: added.body[name] for name in ("provider", "methods", "priority", "enabled", "store_id", "merchant_id")
    }
    assert told == {
        "provider": "sandbox",
        "methods": ["card", "qr"],
        "priority": 3,
        "enabled": False,
        "store_id": store.id,
        "merchant_id": store.tenant.merchant_id,
    }
    for path in ("/sandbox", f"/{added.body['id']}"):
        assert (await store.call("GET", path)).body == added.body
    assert (await store.call("GET")).body == {"data": [added.body], "next_cursor": None}
    changed = await store.call("PATCH", "/sandbox", {"enabled": True, "methods": ["qr"]})
    assert changed.status == 200
    assert changed.body == {
        **added.body,
        "enabled": True,
        "methods": ["qr"],
        "updated_at": changed.body["updated_at"],
    }
    removed = await store.call("DELETE", f"/{added.body['id']}")
    assert (removed.status, removed.raw) == (204, b"")
    assert (await store.call("DELETE", "/sandbox")).status == 404
    assert (await store.call("GET")).body["data"] == []


async def test_a_store_has_each_provider_once(store: Store) -> None:
    answers = await asyncio.gather(*(store.add() for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 4
    refused = next(answer for answer in answers if answer.status == 409)
    assert (refused.code, refused.details[0]["field"]) == ("DUPLICATE_RESOURCE", "provider")


async def test_credentials_are_sealed_in_the_database_and_never_shown(
    store: Store, admin: psycopg.AsyncConnection[DictRow], settings: Settings
) -> None:
    added = await store.add(credentials={"api_key": SECRET, "merchant": "m-1"})
    changed = await store.call("PATCH", "/sandbox", {"priority": 2})
    listed = await store.call("GET")
    for answer in (added, changed, listed, await store.call("GET", "/sandbox")):
        assert SECRET.encode() not in answer.raw
    assert changed.body["credentials_set"] == ["api_key", "merchant"]
    row_id = added.body["id"]
    rows = await admin.execute("SELECT credentials FROM store_providers WHERE id = %s", [row_id])
    sealed = (await rows.fetchone() or {})["credentials"]
    assert SECRET.encode() not in sealed
    vault = Vault(settings.secret_key.get_secret_value().encode())
    assert vault.open(sealed, row_id=row_id) == {"api_key": SECRET, "merchant": "m-1"}


async def test_new_credentials_replace_all_old_credentials(store: Store) -> None:
    await store.add(credentials={"api_key": SECRET, "merchant": "m-1"})
    changed = await store.call("PATCH", "/sandbox", {"credentials": {"token": "t"}})
    assert changed.body["credentials_set"] == ["token"]
    assert (await store.call("PATCH", "/sandbox", {"credentials": {}})).body["credentials_set"] == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"provider": "cash"}, "provider"),
        ({"methods": []}, "methods"),
        ({"methods": ["emoney"]}, "methods.0"),
        ({"methods": ["qr", "qr"]}, "methods"),
        ({"methods": "qr"}, "methods"),
        ({"priority": 0}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"priority": True}, "priority"),
        ({"enabled": "yes"}, "enabled"),
        ({"credentials": {"api_key": 5}}, "credentials.api_key"),
        ({"credentials": {"Api Key": "x"}}, "credentials.Api Key.[key]"),
        ({"credentials": {"card_number": "x"}}, "credentials.card_number"),
        ({"credential": {}}, "credential"),
    ],
    ids=str,
)
async def test_invalid_field_is_named_in_the_answer(store: Store, fields: dict[str, object], field: str) -> None:
    answer = await store.add(**fields)
    assert (answer.status, answer.details[0]["field"]) == (422, field)


async def test_a_refused_body_does_not_echo_its_credentials(store: Store) -> None:
    answer = await store.add(credentials={"api_key": SECRET}, priority=SECRET)
    assert answer.status == 422
    assert SECRET.encode() not in answer.raw


async def test_payment_is_accepted_only_if_its_provider_is_enabled(store: Store) -> None:
    body = {"amount": 100, "method": {"type": "qr", "mode": "cpm", "token": "t"}, "store_id": store.id}

    async def pay(key: str) -> int:
        return (await store.api.post("/payments", body, as_=store.admin, key=f"{store.id}-{key}")).status

    assert await pay("none") == 422
    await store.add()
    assert await pay("on") == 201
    await store.call("PATCH", "/sandbox", {"enabled": False})
    assert await pay("off") == 422

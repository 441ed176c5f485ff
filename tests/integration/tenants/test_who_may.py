"""Who may call what: roles, and F35: another tenant's ids on every route of this part."""

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.conftest import MakeTenant
from tests.factories import Tenant
from tests.harness import Api
from tests.integration.tenants.routes import ABOUT_ONE, LISTS, ROLES, Route

ALL = (*ABOUT_ONE, *LISTS)


@pytest.mark.parametrize("route", ALL, ids=str)
async def test_a_role_too_low_is_403_and_nobody_is_401(api: Api, tenant: Tenant, route: Route) -> None:
    method, path, body = route.of(tenant)
    for role in ROLES[: ROLES.index(route.least)]:
        answer = await api.call(method, path, body, as_=api.signer.user(tenant, role=role))
        assert (answer.status, answer.code) == (403, "AUTHORIZATION_ERROR"), role
    as_device = await api.call(method, path, body, as_=tenant)
    assert (as_device.status, as_device.code) == (403, "AUTHORIZATION_ERROR")
    unknown = await api.call(method, path, body)
    assert (unknown.status, unknown.code) == (401, "AUTHENTICATION_ERROR")
    assert (await api.call(method, path, body, as_="forged")).status == 401


@pytest.mark.parametrize("role", ROLES[1:])
async def test_one_may_all_this_with_ones_own_and_a_higher_role_may_it_too(api: Api, tenant: Tenant, role: str) -> None:
    token = api.signer.user(tenant, role=role)
    for route in ABOUT_ONE:
        if ROLES.index(role) < ROLES.index(route.least):
            continue
        method, path, body = route.of(tenant)
        answer = await api.call(method, path, body, as_=token)
        expected = (200, 201, 204)
        assert answer.status in expected, (str(route), answer.body)


@pytest.mark.parametrize("route", ABOUT_ONE, ids=str)
async def test_another_tenants_row_is_404_like_one_that_is_not_there(
    api: Api, tenant: Tenant, make_tenant: MakeTenant, *, admin: psycopg.AsyncConnection[DictRow], route: Route
) -> None:
    other = await make_tenant()
    nobody = Tenant("psp_0", "mer_0", "sto_0", "dev_0")
    before = await _all_of(admin, other)
    for role in ROLES[ROLES.index(route.least) : ROLES.index("system_op")]:
        token = api.signer.user(tenant, role=role)
        foreign = await api.call(*route.of(other), as_=token)
        missing = await api.call(*route.of(nobody), as_=token)
        assert (foreign.status, foreign.code) == (404, "RESOURCE_NOT_FOUND"), role
        assert (foreign.status, foreign.raw) == (missing.status, missing.raw)
    assert await _all_of(admin, other) == before


@pytest.mark.parametrize("route", LISTS, ids=str)
async def test_lists_show_nothing_of_another_tenant(
    api: Api, tenant: Tenant, make_tenant: MakeTenant, route: Route
) -> None:
    other = await make_tenant()
    foreign = {other.merchant_id, other.store_id, other.device_id}
    for role in ROLES[ROLES.index(route.least) : ROLES.index("system_op")]:
        token = api.signer.user(tenant, role=role)
        queries = ["", f"?cursor={'z' * 80}", f"?store_id={other.store_id}", f"?merchant_id={other.merchant_id}"]
        for query in queries:
            answer = await api.get(route.path + query, as_=token)
            if answer.status == 200:
                assert not foreign & {row["id"] for row in answer.body["data"]}
            else:  # not a filter of this list
                assert (answer.status, answer.details[0]["field"]) == (400, query[1:].partition("=")[0])
    operator = await api.get(f"{route.path}?limit=200", as_=api.signer.user(tenant, role="system_op"))
    assert foreign & {row["id"] for row in operator.body["data"]}  # so the lists above could have shown it


async def test_a_neighbour_store_of_the_same_merchant_is_another_tenant_too(api: Api, tenant: Tenant) -> None:
    admin = api.signer.user(tenant, role="merchant_admin")
    store_id = (await api.post("/stores", {"name": "Next door"}, as_=admin)).body["id"]
    manager = api.signer.user(tenant, role="store_manager", store_id=store_id)
    for path in (f"/terminals/{tenant.device_id}", f"/device/provision/activationStatus?device_id={tenant.device_id}"):
        assert (await api.get(path, as_=manager)).status == 404
    assert (await api.post(f"/terminals/{tenant.device_id}/suspend", as_=manager)).status == 404
    body = {"serial_number": f"SN-{store_id}", "name": "n", "model": "m", "store_id": tenant.store_id}
    assert (await api.post("/terminals", body, as_=manager)).status == 404
    assert (await api.get("/terminals", as_=manager)).body["data"] == []


async def test_a_token_that_mixes_two_tenants_sees_neither(api: Api, tenant: Tenant, make_tenant: MakeTenant) -> None:
    other = await make_tenant()
    manager = api.signer.user(tenant, role="store_manager", store_id=other.store_id)
    assert (await api.get("/terminals", as_=manager)).body["data"] == []
    assert (await api.get(f"/terminals/{other.device_id}", as_=manager)).status == 404


async def _all_of(admin: psycopg.AsyncConnection[DictRow], tenant: Tenant) -> list[DictRow]:
    found: list[DictRow] = []
    for table in ("merchants", "stores", "store_providers", "devices", "device_history", "activation_codes"):
        own = {"merchants": "id = %(merchant_id)s", "activation_codes": "device_id = %(device_id)s"}
        condition = own.get(table, "merchant_id = %(merchant_id)s")
        ids = {"merchant_id": tenant.merchant_id, "device_id": tenant.device_id}
        rows = await admin.execute(f"SELECT * FROM {table} WHERE {condition} ORDER BY 1, 2", ids)
        found += await rows.fetchall()
    return found

"""A PSP's administrators register, read and change merchants over HTTP."""

import pytest

from tests.conftest import MakeTenant
from tests.factories import Tenant
from tests.harness import Api


async def test_a_psp_admin_registers_merchants_of_its_psp(api: Api, tenant: Tenant) -> None:
    admin = api.signer.user(tenant, role="psp_admin")
    answer = await api.post("/merchants", {"name": "喫茶店"}, as_=admin)
    assert answer.status == 201
    assert (answer.body["name"], answer.body["psp_id"]) == ("喫茶店", tenant.psp_id)
    assert (await api.get(f"/merchants/{answer.body['id']}", as_=admin)).body == answer.body
    named = await api.post("/merchants", {"name": "x", "psp_id": tenant.psp_id}, as_=admin)
    assert named.status == 201


async def test_a_merchant_of_another_psp_is_404_like_a_missing_merchant(
    api: Api, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    other = await make_tenant()
    admin = api.signer.user(tenant, role="psp_admin")
    answers = [
        await api.post("/merchants", {"name": "x", "psp_id": psp_id}, as_=admin)
        for psp_id in (other.psp_id, "psp_none")
    ]
    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].raw == answers[1].raw


async def test_system_operator_must_name_the_psp_of_a_merchant(api: Api, tenant: Tenant) -> None:
    operator = api.signer.user(tenant, role="system_op")
    missing = await api.post("/merchants", {"name": "x"}, as_=operator)
    assert (missing.status, missing.details[0]["field"]) == (422, "psp_id")
    assert (await api.post("/merchants", {"name": "x", "psp_id": "psp_none"}, as_=operator)).status == 404
    assert (await api.post("/merchants", {"name": "x", "psp_id": tenant.psp_id}, as_=operator)).status == 201


async def test_a_merchant_changes_its_name_only(api: Api, tenant: Tenant) -> None:
    admin, path = api.signer.user(tenant, role="psp_admin"), f"/merchants/{tenant.merchant_id}"
    before = (await api.get(path, as_=admin)).body
    changed = await api.call("PATCH", path, {"name": "Another name"}, as_=admin)
    assert changed.status == 200
    assert changed.body == {**before, "name": "Another name", "updated_at": changed.body["updated_at"]}
    assert changed.body["updated_at"] > before["updated_at"]
    nothing = await api.call("PATCH", path, {}, as_=admin)
    assert (nothing.status, nothing.body["name"]) == (200, "Another name")
    for body, field in (({"psp_id": "psp_x"}, "psp_id"), ({"name": None}, "name"), ({"name": ""}, "name")):
        refused = await api.call("PATCH", path, body, as_=admin)
        assert (refused.status, refused.details[0]["field"]) == (422, field)


async def test_the_list_is_paged_within_the_psp(api: Api, tenant: Tenant, make_tenant: MakeTenant) -> None:
    await make_tenant()
    admin = api.signer.user(tenant, role="psp_admin")
    made = [tenant.merchant_id]
    made += [(await api.post("/merchants", {"name": str(n)}, as_=admin)).body["id"] for n in range(2)]
    first = await api.get("/merchants?limit=2", as_=admin)
    second = await api.get(f"/merchants?limit=2&cursor={first.body['next_cursor']}", as_=admin)
    assert [row["id"] for row in first.body["data"] + second.body["data"]] == made[::-1]
    assert second.body["next_cursor"] is None


@pytest.mark.parametrize("body", [{}, {"name": 5}, {"name": "x" * 101}, {"name": "x", "x": 1}, [], "x", None], ids=str)
async def test_invalid_body_is_422(api: Api, tenant: Tenant, body: object) -> None:
    answer = await api.post(
        "/merchants", b"null" if body is None else body, as_=api.signer.user(tenant, role="psp_admin")
    )
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR")

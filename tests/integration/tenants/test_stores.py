"""Stores of a merchant are created, read and changed over HTTP."""

import pytest

from tests.conftest import MakeTenant
from tests.factories import Tenant
from tests.harness import Api


async def test_new_store_has_japanese_defaults(api: Api, tenant: Tenant) -> None:
    admin = api.signer.user(tenant, role="merchant_admin")
    answer = await api.post("/stores", {"name": "渋谷店"}, as_=admin)
    assert answer.status == 201
    told = {name: answer.body[name] for name in ("merchant_id", "name", "currency", "time_zone", "cut_off")}
    assert told == {
        "merchant_id": tenant.merchant_id,
        "name": "渋谷店",
        "currency": "JPY",
        "time_zone": "Asia/Tokyo",
        "cut_off": "00:00",
    }
    assert (await api.get(f"/stores/{answer.body['id']}", as_=admin)).body == answer.body


async def test_a_store_abroad_has_the_given_currency_zone_and_cut_off(api: Api, tenant: Tenant) -> None:
    body = {"name": "x", "currency": "AUD", "time_zone": "Australia/Lord_Howe", "cut_off": "04:30"}
    answer = await api.post("/stores", body, as_=api.signer.user(tenant, role="merchant_admin"))
    assert answer.status == 201
    assert {name: answer.body[name] for name in body} == body


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"currency": "YEN"}, "currency"),
        ({"currency": "jpy"}, "currency"),
        ({"currency": "XAU"}, "currency"),
        ({"time_zone": "Tokyo"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "asia/tokyo"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"cut_off": "24:00"}, "cut_off"),
        ({"cut_off": "5:00"}, "cut_off"),
        ({"cut_off": "05:00:00"}, "cut_off"),
        ({"cut_off": "05:00\n"}, "cut_off"),
        ({"cut_off": "0٥:00"}, "cut_off"),
        ({"cut_off": 5}, "cut_off"),
        ({"name": None}, "name"),
    ],
    ids=str,
)
async def test_invalid_field_is_named_in_the_answer(
    api: Api, tenant: Tenant, fields: dict[str, object], field: str
) -> None:
    admin = api.signer.user(tenant, role="merchant_admin")
    made = await api.post("/stores", {"name": "x", **fields}, as_=admin)
    changed = await api.call("PATCH", f"/stores/{tenant.store_id}", fields, as_=admin)
    assert [(answer.status, answer.details[0]["field"]) for answer in (made, changed)] == [(422, field)] * 2


async def test_a_caller_above_merchant_level_must_name_a_merchant(api: Api, tenant: Tenant) -> None:
    for role in ("psp_admin", "system_op"):
        token = api.signer.user(tenant, role=role)
        missing = await api.post("/stores", {"name": "x"}, as_=token)
        assert (missing.status, missing.details[0]["field"]) == (422, "merchant_id")
        named = await api.post("/stores", {"name": "x", "merchant_id": tenant.merchant_id}, as_=token)
        assert named.status == 201


async def test_change_of_a_store_leaves_other_fields_unchanged(api: Api, tenant: Tenant) -> None:
    admin, path = api.signer.user(tenant, role="merchant_admin"), f"/stores/{tenant.store_id}"
    before = (await api.get(path, as_=admin)).body
    changed = await api.call("PATCH", path, {"cut_off": "05:00", "time_zone": "Asia/Kolkata"}, as_=admin)
    assert changed.status == 200
    told = {"cut_off": "05:00", "time_zone": "Asia/Kolkata", "updated_at": changed.body["updated_at"]}
    assert changed.body == {**before, **told}
    assert (await api.get(path, as_=admin)).body == changed.body
    refused = await api.call("PATCH", path, {"merchant_id": "mer_x"}, as_=admin)
    assert (refused.status, refused.details[0]["field"]) == (422, "merchant_id")


async def test_the_list_is_paged_within_the_scope(api: Api, tenant: Tenant, make_tenant: MakeTenant) -> None:
    await make_tenant()
    admin = api.signer.user(tenant, role="merchant_admin")
    made = [tenant.store_id]
    made += [(await api.post("/stores", {"name": str(n)}, as_=admin)).body["id"] for n in range(2)]
    psp = api.signer.user(tenant, role="psp_admin")
    merchant = (await api.post("/merchants", {"name": "Second"}, as_=psp)).body["id"]
    second = (await api.post("/stores", {"name": "x", "merchant_id": merchant}, as_=psp)).body["id"]
    first_page = await api.get("/stores?limit=2", as_=admin)
    second_page = await api.get(f"/stores?limit=2&cursor={first_page.body['next_cursor']}", as_=admin)
    assert [row["id"] for row in first_page.body["data"] + second_page.body["data"]] == made[::-1]
    assert second_page.body["next_cursor"] is None
    of_psp = await api.get("/stores", as_=psp)
    assert [row["id"] for row in of_psp.body["data"]] == [second, *made[::-1]]
    filtered = await api.get(f"/stores?merchant_id={merchant}", as_=psp)
    assert [row["id"] for row in filtered.body["data"]] == [second]

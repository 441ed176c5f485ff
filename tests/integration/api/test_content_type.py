"""A body of another type than JSON is refused with 400 before it is read."""

import pytest

from tests.factories import Tenant
from tests.harness import Api

BODY = b'{"serial_number": "x", "name": "n", "model": "m", "colour": "red"}'


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "", "json"],
)
async def test_a_body_of_another_type_is_400(api: Api, tenant: Tenant, content_type: str) -> None:
    manager = api.signer.user(tenant, role="store_manager")
    answer = await api.post("/terminals", BODY, as_=manager, headers={"Content-Type": content_type})
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.details == [{"field": "Content-Type", "issue": "Must be application/json"}]


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_content_type_json_is_accepted_in_any_spelling(api: Api, tenant: Tenant, content_type: str) -> None:
    manager = api.signer.user(tenant, role="store_manager")
    answer = await api.post("/terminals", BODY, as_=manager, headers={"Content-Type": content_type})
    assert (answer.status, answer.details[0]["field"]) == (422, "colour")  # so the body was read


async def test_the_content_type_does_not_matter_without_a_body(api: Api, tenant: Tenant) -> None:
    manager = api.signer.user(tenant, role="store_manager")
    for headers in ({}, {"Content-Type": "text/plain"}):
        answer = await api.post("/terminals/dev_0/suspend", as_=manager, headers=headers)
        assert answer.status == 404
        assert (await api.get("/terminals", as_=manager, headers=headers)).status == 200


async def test_an_unknown_path_is_404_for_any_content_type(api: Api) -> None:
    assert (await api.post("/nowhere", b"x", headers={"Content-Type": "text/plain"})).status == 404
    assert (await api.call("PUT", "/terminals", b"x", headers={"Content-Type": "text/plain"})).status == 404


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b"[" * 60_000, b"{'a': 1}"], ids=["cut off", "binary", "deep", "quotes"]
)
async def test_broken_json_is_400(api: Api, tenant: Tenant, body: bytes) -> None:
    manager = api.signer.user(tenant, role="store_manager")
    answer = await api.post("/terminals", body, as_=manager)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")

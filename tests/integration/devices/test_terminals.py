"""Terminals are registered, read, listed and changed over HTTP."""

import asyncio

import pytest
import uuid_utils

from tests.conftest import MakeTenant
from tests.factories import Tenant
from tests.harness import Api
from tests.integration.devices.provisioning import Provisioning
from workflows.devices.states import DeviceEvent


def _body(**fields: object) -> dict[str, object]:
    return {"serial_number": f"SN-{uuid_utils.uuid7().hex}", "name": "Till 1", "model": "S-Pitt Air", **fields}


async def test_a_registered_terminal_waits_for_its_activation(api: Api, tenant: Tenant) -> None:
    manager = api.signer.user(tenant, role="store_manager")
    body = _body()
    answer = await api.post("/terminals", body, as_=manager)
    assert answer.status == 201
    assert {name: answer.body[name] for name in body} == body
    assert (answer.body["status"], answer.body["version"]) == ("pending_activation", 1)
    assert (answer.body["merchant_id"], answer.body["store_id"]) == (tenant.merchant_id, tenant.store_id)
    assert answer.body["client_id"] is None
    assert (await api.get(f"/terminals/{answer.body['id']}", as_=manager)).body == answer.body


async def test_serial_number_in_use_is_refused_for_every_tenant(
    api: Api, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    other = await make_tenant()
    body = _body()
    first = await api.post("/terminals", body, as_=api.signer.user(other, role="store_manager"))
    assert first.status == 201
    answer = await api.post("/terminals", body, as_=api.signer.user(tenant, role="store_manager"))
    assert (answer.status, answer.code, answer.details[0]["field"]) == (409, "DUPLICATE_RESOURCE", "serial_number")


async def test_ten_concurrent_registrations_of_a_serial_number_yield_one_device(api: Api, tenant: Tenant) -> None:
    manager, body = api.signer.user(tenant, role="store_manager"), _body()
    answers = await asyncio.gather(*(api.post("/terminals", body, as_=manager) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9


async def test_a_caller_above_store_level_must_name_a_store(api: Api, tenant: Tenant) -> None:
    for role in ("merchant_admin", "psp_admin", "system_op"):
        token = api.signer.user(tenant, role=role)
        answer = await api.post("/terminals", _body(), as_=token)
        assert (answer.status, answer.details[0]["field"]) == (422, "store_id")
        assert (await api.post("/terminals", _body(store_id=tenant.store_id), as_=token)).status == 201


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"serial_number": ""}, "serial_number"),
        ({"serial_number": "x" * 101}, "serial_number"),
        ({"serial_number": "a\x00b"}, "serial_number"),
        ({"serial_number": 5}, "serial_number"),
        ({"name": None}, "name"),
        ({"colour": "red"}, "colour"),
        ({"name": "4111 1111 1111 1111"}, "name"),
    ],
    ids=str,
)
async def test_invalid_field_is_named_in_the_answer(
    api: Api, tenant: Tenant, fields: dict[str, object], field: str
) -> None:
    answer = await api.post("/terminals", _body(**fields), as_=api.signer.user(tenant, role="store_manager"))
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR")
    assert answer.details[0]["field"] == field


async def test_terminals_are_paged_newest_first_and_filtered(provisioning: Provisioning) -> None:
    api, manager = provisioning.api, provisioning.manager
    made = [provisioning.tenant.device_id] + [(await provisioning.register()).device_id for _ in range(4)]
    seen: list[str] = []
    cursor = ""
    while True:
        answer = await api.get(f"/terminals?limit=2{cursor}", as_=manager)
        seen += [row["id"] for row in answer.body["data"]]
        if answer.body["next_cursor"] is None:
            break
        cursor = f"&cursor={answer.body['next_cursor']}"
    assert seen == made[::-1]
    waiting = await api.get("/terminals?status=pending_activation", as_=manager)
    assert [row["id"] for row in waiting.body["data"]] == made[:0:-1]
    here = await api.get(f"/terminals?store_id={provisioning.tenant.store_id}", as_=manager)
    assert len(here.body["data"]) == 5


@pytest.mark.parametrize(
    "query", ["status=broken", "limit=0", "limit=201", "limit=x", "cursor=%00", "store_id=a%20b", "store_id="]
)
async def test_an_invalid_query_of_terminals_is_400(api: Api, tenant: Tenant, query: str) -> None:
    answer = await api.get(f"/terminals?{query}", as_=api.signer.user(tenant, role="store_manager"))
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("device_id", ["a b", "%00", "x" * 81, "dev.1"])
async def test_malformed_device_id_is_400(api: Api, tenant: Tenant, device_id: str) -> None:
    answer = await api.get(f"/terminals/{device_id}", as_=api.signer.user(tenant, role="store_manager"))
    assert answer.status == 400


async def test_status_change_accepts_a_reason_and_no_other_field(provisioning: Provisioning) -> None:
    terminal, _ = await provisioning.active()
    refused = await provisioning.move(terminal, DeviceEvent.SUSPEND, why="x")
    assert (refused.status, refused.details[0]["field"]) == (422, "why")
    assert (await provisioning.read(terminal)).body["status"] == "active"

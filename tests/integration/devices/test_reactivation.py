"""A device whose key was lost gets a new code and a new key, which invalidates the old key and all its tokens."""

from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import psycopg
import pytest
from psycopg.rows import DictRow

from mpac.devtools.terminal import Terminal as Client
from mpac.stack.keys import new_private_key
from tests.conftest import MakeTenant
from tests.harness import Answer
from tests.integration.devices.provisioning import Provisioning, Terminal
from workflows.devices.states import DeviceEvent, DeviceStatus

CASH = {"amount": 500, "method": {"type": "cash"}}
ORDER = {"order_type": "takeaway", "items": [{"name": "tea", "quantity": 1, "unit_price": 300, "tax_rate": "0.08"}]}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield an HTTP session for terminals."""
    async with aiohttp.ClientSession() as opened:
        yield opened


def _client(provisioning: Provisioning, terminal: Terminal, client_id: str, session: aiohttp.ClientSession) -> Client:
    device = {
        "device_id": terminal.device_id,
        "client_id": client_id,
        "private_key_pem": terminal.private_key_pem,
    }
    return Client(provisioning.api.url, device, session=session)


async def _replace_key(provisioning: Provisioning, terminal: Terminal) -> tuple[Terminal, Answer]:
    renewed = replace(terminal, private_key_pem=new_private_key().decode())
    answer = await provisioning.activate(renewed, await provisioning.code(terminal))
    assert answer.status == 200, answer.body
    return renewed, answer


async def test_replaced_key_and_its_tokens_are_refused_from_the_next_request(
    provisioning: Provisioning, session: aiohttp.ClientSession
) -> None:
    terminal, client_id = await provisioning.active()
    old = _client(provisioning, terminal, client_id, session)
    paid = await old.call("POST", "/payments", body=CASH, key="before")
    assert paid.status == 201
    renewed, activated = await _replace_key(provisioning, terminal)
    assert activated.body == {
        "device_id": terminal.device_id,
        "client_id": activated.body["client_id"],
        "status": "active",
    }
    assert activated.body["client_id"] != client_id
    refund = {"reason": "cold", "staff_code": "s1"}
    for answer in (
        await old.call("GET", "/payments"),
        await old.call("GET", f"/payments/{paid.body['id']}"),
        await old.call("GET", f"/payments/{paid.body['id']}?wait=1&since_version=9"),
        await old.call("GET", f"/payments/{paid.body['id']}/stream"),
        await old.call("POST", "/payments", body=CASH, key="after"),
        await old.call("POST", "/payments", body=CASH, key="before"),
        await old.call("POST", "/orders", body=ORDER, key="order"),
        await old.call("POST", f"/payments/{paid.body['id']}/cancel"),
        await old.call("POST", f"/payments/{paid.body['id']}/refund", body=refund, key="refund"),
        await old.request_token(old.assertion()),
        await old.request_token(old.assertion(iss=activated.body["client_id"], sub=activated.body["client_id"])),
    ):
        assert (answer.status, answer.body["error"]["code"]) == (401, "AUTHENTICATION_ERROR")
    new = _client(provisioning, renewed, activated.body["client_id"], session)
    again = await new.call("POST", "/payments", body=CASH, key="before")
    assert (again.status, again.body["id"]) == (201, paid.body["id"])  # the new key belongs to the same device
    assert (await new.call("POST", "/orders", body=ORDER, key="order")).status == 201


async def test_generating_a_code_changes_neither_key_nor_status(
    provisioning: Provisioning, session: aiohttp.ClientSession
) -> None:
    terminal, client_id = await provisioning.active()
    client = _client(provisioning, terminal, client_id, session)
    await client.token()
    await provisioning.code(terminal)
    assert (await provisioning.activate(terminal, "ABCDEFGH2345")).status == 401
    assert (await client.call("POST", "/payments", body=CASH, key="k")).status == 201
    assert (await client.request_token(client.assertion())).status == 200


async def test_a_suspended_device_stays_suspended(provisioning: Provisioning, session: aiohttp.ClientSession) -> None:
    terminal = await provisioning.in_status(DeviceStatus.SUSPENDED)
    renewed, activated = await _replace_key(provisioning, terminal)
    assert activated.body["status"] == "suspended"
    client = _client(provisioning, renewed, activated.body["client_id"], session)
    assert (await client.request_token(client.assertion())).status == 403
    assert (await provisioning.move(terminal, DeviceEvent.RESUME)).status == 200
    assert (await client.call("POST", "/payments", body=CASH, key="k")).status == 201


async def test_the_history_shows_the_issuer_of_the_code_and_the_replacement_of_the_key(
    provisioning: Provisioning, admin: psycopg.AsyncConnection[DictRow]
) -> None:
    terminal, _ = await provisioning.active()
    await _replace_key(provisioning, terminal)
    rows = await admin.execute(
        "SELECT version, event, from_status, to_status, caller_type, caller_id FROM device_history"
        " WHERE device_id = %s AND version > 2 ORDER BY version",
        [terminal.device_id],
    )
    assert [tuple(row.values()) for row in await rows.fetchall()] == [
        (3, "offer_key", "active", "active", "user", "usr_store_manager"),
        (4, "replace_key", "active", "active", "device", terminal.device_id),
    ]
    assert (await provisioning.read(terminal)).body["version"] == 4


async def test_activation_of_a_device_deactivated_since_is_not_repeated(provisioning: Provisioning) -> None:
    terminal = await provisioning.register()
    code = await provisioning.code(terminal)
    assert (await provisioning.activate(terminal, code)).status == 200
    assert (await provisioning.move(terminal, DeviceEvent.DEACTIVATE)).status == 200
    assert (await provisioning.activate(terminal, code)).status == 409


async def test_the_serial_number_of_a_deactivated_device_can_be_registered_at_another_merchant(
    provisioning: Provisioning, make_tenant: MakeTenant, session: aiohttp.ClientSession
) -> None:
    terminal, client_id = await provisioning.active()
    old = _client(provisioning, terminal, client_id, session)
    assert (await old.call("GET", "/payments")).status == 200
    before = (await provisioning.move(terminal, DeviceEvent.DEACTIVATE)).body
    elsewhere = Provisioning(provisioning.api, await make_tenant())
    body = {"serial_number": terminal.serial_number, "name": "Till 1", "model": "S-Pitt Air"}
    registered = await elsewhere.api.post("/terminals", body, as_=elsewhere.manager)
    assert (registered.status, registered.body["status"]) == (201, "pending_activation")
    new = Terminal(registered.body["id"], terminal.serial_number, new_private_key().decode())
    assert new.device_id != terminal.device_id
    activated = await elsewhere.activate(new, await elsewhere.code(new))
    assert (activated.status, activated.body["device_id"]) == (200, new.device_id)
    client = _client(elsewhere, new, activated.body["client_id"], session)
    assert (await client.call("POST", "/payments", body=CASH, key="k")).body["store_id"] == elsewhere.tenant.store_id
    assert (await provisioning.read(terminal)).body == before  # the former device keeps its history
    assert (await old.call("GET", "/payments")).status == 403
    assert (await provisioning.api.post("/terminals", body, as_=provisioning.manager)).status == 409  # in use again

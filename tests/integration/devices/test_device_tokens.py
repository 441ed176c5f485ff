"""An assertion yields one token, and a suspended device's unexpired tokens are refused."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
import jwt
import psycopg
import pytest
from psycopg.rows import DictRow

from mpac.devtools.terminal import ASSERTION_TYPE, TOKEN_PATH, Terminal, TokenRefused
from mpac.stack.keys import new_private_key
from tests.conftest import Serve
from tests.harness import Answer, Api
from tests.integration.devices.provisioning import Provisioning
from tests.integration.devices.provisioning import Terminal as Registered
from workflows.clock import now
from workflows.devices import client_assertions
from workflows.devices.states import DeviceEvent
from workflows.tenants.tokens import AUDIENCE, DEVICE_ISSUER

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield an HTTP session for terminals."""
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def active(provisioning: Provisioning) -> tuple[Registered, str]:
    """Return an active terminal and its client id."""
    return await provisioning.active()


@pytest.fixture
def terminal(api: Api, active: tuple[Registered, str], session: aiohttp.ClientSession) -> Terminal:
    """Return a client for the active terminal."""
    return _client(api.url, active, session)


def _client(url: str, active: tuple[Registered, str], session: aiohttp.ClientSession) -> Terminal:
    registered, client_id = active
    device = {
        "device_id": registered.device_id,
        "client_id": client_id,
        "private_key_pem": registered.private_key_pem,
    }
    return Terminal(url, device, session=session)


async def _post_form(api: Api, form: Mapping[str, str], **headers: str) -> Answer:
    sent = {"Content-Type": FORM, **headers}
    return await api.post("/auth/device/token", urlencode(form).encode(), headers=sent)


def _form(assertion: str, **fields: str) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        **fields,
    }


def test_token_path_equals_the_audience_of_assertions() -> None:
    assert client_assertions.TOKEN_PATH == TOKEN_PATH


async def test_active_device_gets_a_token_that_the_api_accepts(
    api: Api, terminal: Terminal, provisioning: Provisioning
) -> None:
    answer = await terminal.request_token(terminal.assertion())
    token = answer.body.pop("access_token")
    assert (answer.status, answer.body) == (200, {"token_type": "Bearer", "expires_in": 120})
    assert answer.headers["Cache-Control"] == "no-store"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.pop("exp") - claims.pop("iat") == answer.body["expires_in"]
    assert claims == {
        "iss": DEVICE_ISSUER,
        "aud": AUDIENCE,
        "sub": terminal.device_id,
        "psp_id": provisioning.tenant.psp_id,
        "merchant_id": provisioning.tenant.merchant_id,
        "store_id": provisioning.tenant.store_id,
        "client_id": terminal.client_id,
    }
    paid = await api.post("/payments", {"amount": 500, "method": {"type": "cash"}}, as_=token, key="one")
    assert (paid.status, paid.body["device_id"]) == (201, terminal.device_id)
    assert paid.body["store_id"] == provisioning.tenant.store_id


async def test_a_token_marks_the_device_as_seen(
    terminal: Terminal, active: tuple[Registered, str], provisioning: Provisioning
) -> None:
    assert (await provisioning.read(active[0])).body["last_connected_at"] is None
    await terminal.token()
    assert (await provisioning.read(active[0])).body["last_connected_at"] is not None


async def test_the_lifetime_of_a_token_is_a_setting(
    serve: Serve, active: tuple[Registered, str], session: aiohttp.ClientSession
) -> None:
    async with serve(device_token_seconds=30) as api:
        answer = await _client(api.url, active, session).request_token(_client(api.url, active, session).assertion())
    claims = jwt.decode(answer.body["access_token"], options={"verify_signature": False})
    assert answer.body["expires_in"] == claims["exp"] - claims["iat"] == 30


async def test_jti_can_be_used_once(terminal: Terminal) -> None:
    assertion = terminal.assertion()
    assert (await terminal.request_token(assertion)).status == 200
    again = await terminal.request_token(assertion)
    assert (again.status, again.body["error"]["code"]) == (401, "AUTHENTICATION_ERROR")
    assert "jti" in again.body["error"]["details"][0]["issue"]
    renamed = terminal.assertion(jti=jwt.decode(assertion, options={"verify_signature": False})["jti"])
    assert (await terminal.request_token(renamed)).status == 401


async def test_thirty_concurrent_uses_of_one_jti_yield_one_token(terminal: Terminal) -> None:
    assertion = terminal.assertion()
    answers = await asyncio.gather(*(terminal.request_token(assertion) for _ in range(30)))
    assert sorted(answer.status for answer in answers) == [200] + [401] * 29


async def test_two_devices_may_use_the_same_jti(
    api: Api, provisioning: Provisioning, session: aiohttp.ClientSession
) -> None:
    clients = [_client(api.url, await provisioning.active(), session) for _ in range(2)]
    answers = await asyncio.gather(*(client.request_token(client.assertion(jti="same")) for client in clients))
    assert [answer.status for answer in answers] == [200, 200]


async def test_grouped_token_requests_get_separate_answers(
    api: Api, provisioning: Provisioning, session: aiohttp.ClientSession
) -> None:
    good = [_client(api.url, await provisioning.active(), session) for _ in range(6)]
    suspended = _client(api.url, await _suspended(provisioning), session)
    stranger = {"device_id": "x", "client_id": "cli_unknown", "private_key_pem": new_private_key().decode()}
    asked = [*good, suspended, Terminal(api.url, stranger, session=session)]
    answers = await asyncio.gather(*(client.request_token(client.assertion()) for client in asked))
    assert [answer.status for answer in answers] == [200] * 6 + [403, 401]
    subjects = [
        jwt.decode(answer.body["access_token"], options={"verify_signature": False})["sub"] for answer in answers[:6]
    ]
    assert subjects == [client.device_id for client in good]


async def _suspended(provisioning: Provisioning) -> tuple[Registered, str]:
    active = await provisioning.active()
    assert (await provisioning.move(active[0], DeviceEvent.SUSPEND)).status == 200
    return active


@pytest.mark.parametrize("event", [DeviceEvent.SUSPEND, DeviceEvent.DEACTIVATE])
async def test_device_that_is_not_active_gets_no_token(
    terminal: Terminal, active: tuple[Registered, str], provisioning: Provisioning, event: DeviceEvent
) -> None:
    assert (await provisioning.move(active[0], event)).status == 200
    answer = await terminal.request_token(terminal.assertion())
    assert (answer.status, answer.body["error"]["code"]) == (403, "AUTHORIZATION_ERROR")
    with pytest.raises(TokenRefused, match="403"):
        await terminal.token()


@pytest.mark.parametrize("event", [DeviceEvent.SUSPEND, DeviceEvent.DEACTIVATE])
async def test_an_unexpired_token_is_refused_on_the_very_next_request(
    terminal: Terminal, active: tuple[Registered, str], provisioning: Provisioning, event: DeviceEvent
) -> None:
    cash = {"amount": 500, "method": {"type": "cash"}}
    paid = await terminal.call("POST", "/payments", body=cash, key="before")
    assert paid.status == 201
    assert (await provisioning.move(active[0], event)).status == 200
    for answer in (
        await terminal.call("GET", "/payments"),
        await terminal.call("GET", f"/payments/{paid.body['id']}"),
        await terminal.call("POST", "/payments", body=cash, key="after"),
        await terminal.call("POST", "/payments", body=cash, key="before"),
        await terminal.call("POST", f"/payments/{paid.body['id']}/cancel"),
    ):
        assert (answer.status, answer.body["error"]["code"]) == (403, "AUTHORIZATION_ERROR")
    if event is DeviceEvent.SUSPEND:
        assert (await provisioning.move(active[0], DeviceEvent.RESUME)).status == 200
        assert (await terminal.call("GET", "/payments")).status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://elsewhere.example"},
        {"iss": "cli_other"},
        {"sub": "cli_unknown"},
        {"exp": 1_700_000_000},
        {"exp": 4_000_000_000},
        {"exp": 10**30},
        {"jti": None},
        {"jti": 5},
    ],
    ids=str,
)
async def test_invalid_assertion_is_401_with_the_reason(terminal: Terminal, claims: dict[str, Any]) -> None:
    answer = await terminal.request_token(terminal.assertion(**claims))
    assert (answer.status, answer.body["error"]["code"]) == (401, "AUTHENTICATION_ERROR")
    assert answer.body["error"]["details"][0]["field"] == "client_assertion"


async def test_the_audience_is_our_public_address_for_any_host_header(
    serve: Serve, active: tuple[Registered, str], session: aiohttp.ClientSession
) -> None:
    async with serve(public_url="https://pay.example") as api:
        client = _client(api.url, active, session)
        for host in ("pay.example", "evil.example", api.url.removeprefix("http://")):
            for aud, status in (
                ("https://pay.example" + TOKEN_PATH, 200),
                ("https://pay.example", 200),
                (f"https://evil.example{TOKEN_PATH}", 401),
                (api.url + TOKEN_PATH, 401),
                (TOKEN_PATH, 401),
                ("mpac-api", 401),
            ):
                answer = await _post_form(api, _form(client.assertion(aud=aud)), Host=host)
                assert (answer.status, aud, host) == (status, aud, host)


async def test_a_clock_a_minute_ahead_is_tolerated_and_more_is_refused_with_both_times(
    terminal: Terminal,
) -> None:
    ahead = int(now().timestamp()) + 50
    assert (await terminal.request_token(terminal.assertion(iat=ahead, nbf=ahead, exp=ahead + 60))).status == 200
    answer = await terminal.request_token(terminal.assertion(iat=ahead + 3_600))
    assert answer.status == 401
    issue = answer.body["error"]["details"][0]["issue"]
    assert "Its iat is 2" in issue
    assert "our clock says 2" in issue
    assert " s ahead of us, and 60 s are tolerated; set the clock of the device" in issue


async def test_assertion_signed_with_another_devices_key_is_refused(
    terminal: Terminal, api: Api, provisioning: Provisioning, session: aiohttp.ClientSession
) -> None:
    other = _client(api.url, await provisioning.active(), session)
    forged = other.assertion(iss=terminal.client_id, sub=terminal.client_id)
    assert (await terminal.request_token(forged)).status == 401


@pytest.mark.parametrize("assertion", ["x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjbGlfMSJ9."])
async def test_malformed_assertion_is_401(api: Api, assertion: str) -> None:
    assert (await _post_form(api, _form(assertion))).status == 401


async def test_invalid_token_form_is_422(api: Api, terminal: Terminal) -> None:
    good = _form(terminal.assertion())
    for form, field in (
        ({**good, "grant_type": "password"}, "grant_type"),
        ({**good, "client_assertion_type": "jwt"}, "client_assertion_type"),
        ({**good, "client_assertion": ""}, "client_assertion"),
        ({**good, "client_secret": "x"}, "client_secret"),
        ({name: value for name, value in good.items() if name != "client_assertion"}, "client_assertion"),
    ):
        answer = await _post_form(api, form)
        assert (answer.status, answer.details[0]["field"]) == (422, field)
    assert (await _post_form(api, good)).status == 200  # the invalid requests did not use up the assertion


async def test_json_or_multipart_is_the_wrong_content_type(api: Api, terminal: Terminal) -> None:
    form = _form(terminal.assertion())
    as_json = await api.post("/auth/device/token", form)
    assert (as_json.status, as_json.details[0]["field"]) == (400, "Content-Type")
    multipart = aiohttp.FormData(form, default_to_multipart=True)()
    headers = {"Content-Type": multipart.content_type}
    answer = await api.post("/auth/device/token", await _bytes_of(multipart), headers=headers)
    assert (answer.status, answer.details[0]["field"]) == (400, "Content-Type")


async def _bytes_of(payload: aiohttp.payload.Payload) -> bytes:
    written = bytearray()

    class Writer:
        async def write(self, chunk: bytes) -> None:
            written.extend(chunk)

    await payload.write(Writer())  # type: ignore[arg-type]  # all it needs of a stream
    return bytes(written)


async def test_only_a_hash_of_a_jti_is_stored(terminal: Terminal, admin: psycopg.AsyncConnection[DictRow]) -> None:
    assert (await terminal.request_token(terminal.assertion(jti="4111 1111 1111 1111"))).status == 200
    rows = await admin.execute("SELECT jti FROM used_assertions WHERE client_id = %s", [terminal.client_id])
    assert [row["jti"] for row in await rows.fetchall()] == [hashlib.sha256(b"4111 1111 1111 1111").hexdigest()]

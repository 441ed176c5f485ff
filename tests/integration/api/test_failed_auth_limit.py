"""Failed attempts of unknown callers limit only those callers, never terminals and users."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlencode

import aiohttp
import pytest

from mpac.devtools.terminal import ASSERTION_TYPE
from mpac.devtools.terminal import Terminal as Client
from mpac.stack.keys import new_private_key
from tests.conftest import Serve
from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.integration.devices.provisioning import Provisioning, Terminal
from workflows.clock import now

LIMITS = {"rate_limit_unknown_per_address": 5, "rate_limit_overall": 60, "rate_limit_per_merchant": 60}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield an HTTP session for terminals."""
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def active(api: Api, tenant: Tenant) -> tuple[Terminal, str]:
    """Return an active terminal and its client id."""
    return await Provisioning(api, tenant).active()


def _client(api: Api, active: tuple[Terminal, str], session: aiohttp.ClientSession) -> Client:
    terminal, client_id = active
    device = {"device_id": terminal.device_id, "client_id": client_id, "private_key_pem": terminal.private_key_pem}
    return Client(api.url, device, session=session)


async def _token(api: Api, assertion: str) -> Answer:
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    return await api.post("/auth/device/token", urlencode(form).encode(), headers=FORM)


async def _flood(api: Api, forged: str, *, count: int = 40) -> list[int]:
    """Make ``count`` unauthenticated attempts of each of five kinds, and return their statuses."""
    stranger = {"activation_code": "ABCDEFGH2345", "serial_number": "x"}
    stranger["public_key_pem"] = Terminal("", "", _pem()).public_key_pem
    asked = [
        call
        for number in range(count)
        for call in (
            api.get("/payments"),
            api.get("/payments", as_=f"garbage-{number}"),
            _token(api, "garbage"),
            _token(api, forged),
            api.post("/device/provision/activate", stranger),
        )
    ]
    return [answer.status for answer in await asyncio.gather(*asked)]


def _pem() -> str:
    return new_private_key().decode()


async def test_attempts_of_unknown_callers_do_not_limit_a_terminal_at_the_same_address(
    serve: Serve, tenant: Tenant, active: tuple[Terminal, str], session: aiohttp.ClientSession
) -> None:
    async with serve(**LIMITS) as api:
        till = _client(api, active, session)
        stranger = _client(api, (Terminal("x", "x", _pem()), active[1]), session)  # a wrong key for an existing client
        statuses = await _flood(api, stranger.assertion())
        assert set(statuses) == {401, 429}
        assert statuses.count(401) <= 2 * LIMITS["rate_limit_unknown_per_address"]  # a new minute may begin in between
        assert (await till.request_token(till.assertion())).status == 200
        paid = await till.call("POST", "/payments", body={"amount": 500, "method": {"type": "cash"}}, key="k")
        assert paid.status == 201
        assert (await api.get("/payments", as_=api.signer.user(tenant, role="staff"))).status == 200


async def test_limited_unknown_caller_gets_retry_after(serve: Serve) -> None:
    async with serve(**LIMITS) as api:
        answers = [await api.get("/payments", as_="garbage") for _ in range(15)]
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.code == "RATE_LIMIT_EXCEEDED"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


async def test_concurrent_terminals_behind_one_address_all_get_tokens(
    serve: Serve, active: tuple[Terminal, str], session: aiohttp.ClientSession
) -> None:
    async with serve(**{**LIMITS, "rate_limit_overall": 10, "rate_limit_per_merchant": 10}) as api:
        till = _client(api, active, session)
        answers = await asyncio.gather(*(till.request_token(till.assertion()) for _ in range(200)))
        assert {answer.status for answer in answers} == {200}


async def test_a_refused_attempt_of_a_known_caller_is_not_counted(
    serve: Serve, tenant: Tenant, active: tuple[Terminal, str], session: aiohttp.ClientSession
) -> None:
    async with serve(**LIMITS) as api:
        expired = api.signer.device(tenant, exp=now() - timedelta(minutes=5))
        assert [(await api.get("/payments", as_=expired)).status for _ in range(20)] == [401] * 20
        till = _client(api, active, session)
        assertion = till.assertion()
        assert [(await till.request_token(assertion)).status for _ in range(20)] == [200] + [401] * 19
        assert (await api.get("/payments", as_="garbage")).status == 401


@pytest.mark.parametrize(("proxies", "status"), [("", 429), ("127.0.0.1", 401)])
async def test_an_address_in_a_header_counts_behind_a_trusted_proxy_only(
    serve: Serve, proxies: str, status: int
) -> None:
    async with serve(**LIMITS, trusted_proxies=proxies) as api:
        answers = [
            await api.get("/payments", headers={"X-Forwarded-For": f"198.51.100.{number}"}) for number in range(30)
        ]
    # A new minute may begin in between, so at least 15 of 30 are refused.
    statuses = [answer.status for answer in answers]
    assert statuses.count(status) == 30 if status == 401 else statuses.count(status) >= 15

"""A connection that was cut while idle is replaced, and no request fails because of it."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from pydantic import SecretStr

from mpac.stack.local_stack import LocalStack
from tests.conftest import WAIT_SECONDS, Serve
from tests.factories import Tenant
from tests.harness import Api
from tests.integration.database.cutting_proxy import Cut, Proxy, proxied
from tests.polling import eventually
from workflows.database import connection_health
from workflows.database import engines as database
from workflows.ids import new_id
from workflows.ops import health

ORDER = {"order_type": "takeaway", "items": [{"name": "Tea", "quantity": 1, "unit_price": 300, "tax_rate": "0.08"}]}
MANY = 12


@pytest.fixture
async def cut_off(serve: Serve, stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Api, Proxy]]:
    """Yield an API that reaches the database through the proxy, and the proxy.

    The timeouts are long enough to open twenty connections on a busy machine.
    """
    monkeypatch.setattr(database, "CONNECT_TIMEOUT_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(health, "ANSWER_WITHIN_SECONDS", WAIT_SECONDS)
    async with (
        proxied(stack.urls.database) as (proxy, url),
        serve(database_url=SecretStr(url), rate_limit_per_merchant=0) as api,
    ):
        yield api, proxy


async def ask_everything(api: Api, tenant: Tenant) -> list[int]:
    """Send as many concurrent requests of each kind as there are connections, and return their statuses."""
    answers = await asyncio.gather(
        *(api.pay(tenant) for _ in range(MANY)),
        *(api.post("/orders", ORDER, as_=tenant, key=new_id("order")) for _ in range(MANY)),
        *(api.get("/payments", as_=tenant) for _ in range(MANY)),
        *(api.get("//health/ready") for _ in range(3)),
    )
    return [answer.status for answer in answers]


@pytest.mark.parametrize("how", [Cut.FIN, Cut.RST])
@pytest.mark.parametrize("was_idle", [False, True], ids=["just used", "idle"])
async def test_no_request_fails_because_its_connection_was_cut(
    cut_off: tuple[Api, Proxy], tenant: Tenant, how: Cut, was_idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, proxy = cut_off
    for _ in range(3):
        assert set(await ask_everything(api, tenant)) == {200, 201}
        if was_idle:
            monkeypatch.setattr(connection_health, "HOT_SECONDS", 0)
        assert proxy.cut(how) > 3
        await asyncio.sleep(0)  # lets the event loop deliver the cut
        await eventually(lambda: connections(proxy), until=lambda number: number <= 1)
        assert set(await ask_everything(api, tenant)) == {200, 201}


async def connections(proxy: Proxy) -> int:
    return proxy.connections


async def test_silent_connections_are_replaced_when_a_begin_times_out(
    cut_off: tuple[Api, Proxy], tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, proxy = cut_off
    assert set(await ask_everything(api, tenant)) == {200, 201}
    monkeypatch.setattr(connection_health, "HOT_SECONDS", 0)
    assert proxy.cut(Cut.SILENCE) > 3
    assert set(await ask_everything(api, tenant)) == {200, 201}


async def test_the_subscription_reconnects_after_a_cut(cut_off: tuple[Api, Proxy], tenant: Tenant) -> None:
    api, proxy = cut_off
    payment = (await api.pay(tenant, method={"type": "qr", "mode": "mpm"})).body
    proxy.cut(Cut.RST)
    waiting = asyncio.ensure_future(
        api.get(f"/payments/{payment['id']}?wait=25&since_version={payment['version']}", as_=tenant)
    )
    cancelled = await api.post(f"/payments/{payment['id']}/cancel", {}, as_=tenant)
    assert cancelled.status == 200
    assert (await asyncio.wait_for(waiting, 20)).body["status"] == "cancelled"


async def test_a_connection_that_the_driver_has_closed_counts_as_ended(stack: LocalStack) -> None:
    raw = await psycopg.AsyncConnection.connect(stack.urls.database)
    assert not connection_health._has_unread_data(raw)
    await raw.close()
    assert connection_health._has_unread_data(raw)

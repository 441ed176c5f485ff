"""Check which requests count as waiting, and that errors do not stop the check of the maintenance switch."""

import asyncio

import pytest

from api import limits
from api.limits import Limits, _may_wait
from workflows.ops.maintenance import Maintenance
from workflows.settings import Settings

NOWHERE = {
    "database_url": "postgresql://nobody@127.0.0.1:1/nothing",
    "broker_url": "redis://127.0.0.1:1/0",
    "secret_key": "x",
}


@pytest.mark.parametrize(
    ("method", "path", "query", "waits"),
    [
        ("GET", "/api/v1/payments/pay_1", b"wait=25", True),
        ("GET", "/api/v1/payments/pay_1", b"since_version=2&wait=25", True),
        ("GET", "/api/v1/payments/pay_1/stream", b"", True),
        ("GET", "/api/v1/payments/pay_1", b"", False),
        ("GET", "/api/v1/payments", b"wait=25", False),
        ("GET", "/api/v1/payments", b"client_reference=wait=1", False),
        ("GET", "/api/v1/orders", b"wait=25", False),
        ("GET", "/api/v1/orders/stream", b"", False),
        ("GET", "/api/v1/payments/pay_1/events", b"wait=25", False),
        ("POST", "/api/v1/payments/pay_1", b"wait=25", False),
    ],
)
def test_only_waits_and_streams_count_as_waiting_requests(method: str, path: str, query: bytes, waits: bool) -> None:
    assert _may_wait({"type": "http", "method": method, "path": path, "query_string": query}) is waits


async def test_unexpected_error_does_not_stop_the_check_of_the_maintenance_switch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    again = asyncio.Event()

    async def look() -> Maintenance:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise LookupError("nobody has thought of this")
        again.set()
        return Maintenance(is_on=True, message="x")

    monkeypatch.setattr(limits, "read_maintenance", look)
    monkeypatch.setattr(limits, "EXCHANGE_SECONDS", 0.01)
    watched = Limits(Settings.model_validate(NOWHERE))
    watched.start()
    async with asyncio.timeout(10):
        await again.wait()
    await watched.stop()

"""Overload, maintenance, an unavailable database and internal errors are answered so that callers can retry."""

import asyncio
import socket
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from tests.conftest import Serve
from tests.factories import PaymentMaker, Signer, Tenant
from tests.harness import Api
from tests.integration.api.refusals import is_refused
from tests.polling import eventually


async def test_merchant_above_its_limit_gets_429_while_others_are_served(
    serve: Serve, tenant: Tenant, make_tenant: Any
) -> None:
    other = await make_tenant()
    async with serve(rate_limit_per_merchant=5) as api:
        answers = [await api.get("/payments", as_=tenant) for _ in range(12)]
        assert [answer.status for answer in answers].count(429) >= 2  # a minute may begin in between, which admits ten
        refused = next(answer for answer in answers if answer.status == 429)
        assert is_refused(refused, 429, "RATE_LIMIT_EXCEEDED")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert (await api.get("/payments", as_=other)).status == 200


async def test_overall_limit_counts_all_merchants(serve: Serve, make_tenant: Any) -> None:
    tenants = [await make_tenant() for _ in range(4)]
    async with serve(rate_limit_overall=6) as api:
        answers = [await api.get("/payments", as_=each) for each in tenants * 4]
        assert [answer.status for answer in answers].count(429) >= 4


async def test_maintenance_is_503_with_the_operators_text_except_for_health_and_operators(
    api: Api, tenant: Tenant, signer: Signer
) -> None:
    operator = signer.user(tenant, role="system_op")
    try:
        closed = await api.call("PUT", "/ops/maintenance", {"enabled": True, "message": "Back at noon"}, as_=operator)
        assert closed.status == 200
        answer = await eventually(lambda: api.get("/payments", as_=tenant), until=lambda seen: seen.status == 503)
        assert is_refused(answer, 503, "SERVICE_UNAVAILABLE")
        assert answer.body["error"]["message"] == "Back at noon"
        assert int(answer.headers["Retry-After"]) > 0
        assert (await api.get("//health/live")).status == 200
        assert (await api.get("/ops/dead-letters", as_=operator)).status == 200
    finally:
        await api.call("PUT", "/ops/maintenance", {"enabled": False}, as_=operator)
    await eventually(lambda: api.get("/payments", as_=tenant), until=lambda seen: seen.status == 200)


@pytest.mark.parametrize("setting", ["max_waiting_requests", "max_requests_in_flight"])
async def test_request_above_the_limit_in_flight_is_503_with_retry_after(
    serve: Serve, tenant: Tenant, setting: str
) -> None:
    async with serve(**{setting: 1}) as api:
        payment_id = (await api.pay(tenant)).body["id"]
        path = f"/payments/{payment_id}" + ("?wait=1&since_version=9" if "waiting" in setting else "")
        answers = await asyncio.gather(*(api.get(path, as_=tenant) for _ in range(10)))
        served = [answer for answer in answers if answer.status == 200]
        assert 1 <= len(served) < 10
        for answer in answers:
            if answer not in served:
                assert is_refused(answer, 503, "SERVICE_UNAVAILABLE")
                assert answer.headers["Retry-After"] == "1"
        assert (await api.get("/payments", as_=tenant)).status == 200


async def test_without_a_database_requests_get_503_and_liveness_succeeds(serve: Serve, tenant: Tenant) -> None:
    from pydantic import SecretStr  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    async with serve(database_url=SecretStr(f"postgresql://u:p@127.0.0.1:{nobody}/d")) as api:
        for answer in (await api.pay(tenant), await api.get("/payments", as_=tenant), await api.get("//health/ready")):
            assert is_refused(answer, 503, "SERVICE_UNAVAILABLE")
            assert int(answer.headers["Retry-After"]) > 0
        assert (await api.get("//health/live")).status == 200


async def test_internal_error_reveals_no_details(
    api: Api, tenant: Tenant, payments: PaymentMaker, admin: AsyncConnection[DictRow], caplog: pytest.LogCaptureFixture
) -> None:
    payment_id = await payments.pending()
    await admin.execute("ALTER TABLE payment_messages RENAME TO payment_messages_gone")
    try:
        answer = await api.get(f"/payments/{payment_id}/events", as_=tenant)
    finally:
        await admin.execute("ALTER TABLE payment_messages_gone RENAME TO payment_messages")
    assert is_refused(answer, 500, "INTERNAL_ERROR")
    assert answer.details == []
    assert "payment_messages" not in answer.raw.decode()
    assert answer.headers["X-Request-Id"] in [getattr(record, "request_id", None) for record in caplog.records]
    assert (await api.get(f"/payments/{payment_id}/events", as_=tenant)).status == 200

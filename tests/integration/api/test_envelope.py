"""Every answer has the envelope, a request id and the documented status, for any request and any fault."""

import asyncio
import json
import logging
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.api.refusals import CASH, NUMBER, is_refused
from tests.polling import DEADLINE_SECONDS


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "//"),
        ("PUT", "//"),
        ("GET", "//nowhere"),
        ("GET", "/nowhere"),
        ("POST", "/payments/x/nowhere"),
        ("GET", "/payments/"),
        ("PUT", "/payments"),
        ("DELETE", "/payments"),
        ("PATCH", "/payments/pay_1"),
        ("OPTIONS", "/payments"),
        ("TRACE", "/payments"),
        ("PURGE", "/payments"),
        ("GET", "/Payments"),
        ("POST", "//health/live"),
        ("GET", "//api/v1"),
        ("GET", "//docs/"),
    ],
)
async def test_an_unknown_path_and_an_unknown_method_are_both_404(
    api: Api, tenant: Tenant, method: str, path: str
) -> None:
    assert is_refused(await api.call(method, path, as_=tenant), 404, "RESOURCE_NOT_FOUND")


async def test_an_unknown_path_is_404_for_any_body(api: Api) -> None:
    assert is_refused(
        await api.post("/nowhere", b"\xff", headers={"Content-Type": "image/png"}), 404, "RESOURCE_NOT_FOUND"
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nothing", b'{"amount": }', b"\xff\xfe", b"[1,", b'{"a":1}x', b"\x00", b"{" * 30_000]
)
async def test_a_body_that_is_not_json_is_malformed(api: Api, tenant: Tenant, body: bytes) -> None:
    answer = await api.post("/payments", body, as_=tenant, key="k")
    assert answer.status in (400, 422)
    if body:
        assert is_refused(answer, 400, "VALIDATION_ERROR", "body")


@pytest.mark.parametrize("body", [[], "text", 1, None, True, [CASH]])
async def test_json_body_that_is_not_an_object_is_invalid(api: Api, tenant: Tenant, body: Any) -> None:
    answer = await api.post("/payments", json.dumps(body).encode(), as_=tenant, key="k")
    assert is_refused(answer, 422, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "x"],
)
async def test_another_content_type_is_malformed(api: Api, tenant: Tenant, kind: str) -> None:
    answer = await api.post("/payments", CASH, as_=tenant, key="k", headers={"Content-Type": kind})
    assert is_refused(answer, 400, "VALIDATION_ERROR", "Content-Type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON"])
async def test_content_type_json_may_have_a_charset(api: Api, tenant: Tenant, kind: str) -> None:
    answer = await api.post("/payments", CASH, as_=tenant, key="k", headers={"Content-Type": kind})
    assert answer.status == 201


async def test_unknown_fields_are_refused_at_every_depth(api: Api, tenant: Tenant) -> None:
    body = {**CASH, "ammount": 1, "method": {"type": "cash", "cash": 5}}
    answer = await api.post("/payments", body, as_=tenant, key="k")
    assert is_refused(answer, 422, "VALIDATION_ERROR", "ammount")
    assert {"There is no such field"} == {detail["issue"] for detail in answer.details}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/payments?limit=0", "limit"),
        ("/payments?limit=x", "limit"),
        ("/payments?limit=201", "limit"),
        ("/payments?status=paid", "status"),
        ("/payments?cursor=a%20b", "cursor"),
        ("/payments?cursor=a'b", "cursor"),
        ("/payments?created_from=yesterday", "created_from"),
        ("/payments/pay_1?wait=-1", "wait"),
        ("/payments/pay_1?wait=61", "wait"),
        ("/payments/pay_1?wait=nan", "wait"),
        ("/payments/pay_1?since_version=99999999999", "since_version"),
        *((f"/payments?limit={value}", "limit") for value in ("1_0", "%205", "5.0", "05", "%2B5", "1e1", "%EF%BC%95")),
        *((f"/payments/pay_1?since_version={value}", "since_version") for value in ("1_0", "2.0", "0x1")),
        *((f"/payments/pay_1?wait={value}", "wait") for value in ("1_0", "1e1", "%205", "inf", ".5", "5,0")),
        *((f"/payments?created_from={value}", "created_from") for value in ("1700000000", "0", "1.5", "2026-11-23")),
        ("/bills?created_to=1700000000", "created_to"),
        ("/orders?created_from=1700000000000", "created_from"),
        ("/orders?created_from=2026-11-23T10:00:00", "created_from"),
        ("/orders?created_from=2026-11-23_10:00:00Z", "created_from"),
        *((f"/refunds?needs_action={value}", "needs_action") for value in ("yes", "on", "1", "t", "y", "off", "0")),
        ("/payments/pay%001", "payment_id"),
        ("/payments/" + "x" * 81, "payment_id"),
    ],
)
async def test_a_wrong_query_or_path_value_is_malformed(api: Api, tenant: Tenant, path: str, field: str) -> None:
    assert is_refused(await api.get(path, as_=tenant), 400, "VALIDATION_ERROR", field)


@pytest.mark.parametrize(
    "path",
    [
        "/payments?limit=5&created_from=2026-11-23T10:00:00Z&created_to=2036-11-23T19:00:00.5%2B09:00",
        "/bills?created_from=2026-11-23T10:00Z",
        "/refunds?needs_action=true",
        "/refunds?needs_action=false",
    ],
)
async def test_query_value_in_the_documented_spelling_is_accepted(api: Api, tenant: Tenant, path: str) -> None:
    assert (await api.get(path, as_=tenant)).status == 200


async def test_a_content_length_over_the_limit_is_refused(api: Api, tenant: Tenant) -> None:
    answer = await api.post("/payments", b'{"x":"' + b"x" * 65_536, as_=tenant, key="k")
    assert is_refused(answer, 400, "VALIDATION_ERROR", "body")
    assert "64 KiB" in answer.details[0]["issue"]


async def test_a_chunked_body_over_the_limit_is_refused(api: Api, tenant: Tenant) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        f"POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.signer.device(tenant)}\r\n"
        "Idempotency-Key: k\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode())
    for _ in range(9):
        writer.write(b"2000\r\n" + b"x" * 8_192 + b"\r\n")
    writer.write(b"0\r\n\r\n")
    answer = await asyncio.wait_for(reader.readuntil(b"]}}"), DEADLINE_SECONDS)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"64 KiB" in answer


async def test_a_body_at_the_limit_is_read(api: Api, tenant: Tenant) -> None:
    body = json.dumps(CASH).encode()
    answer = await api.post("/payments", body + b" " * (65_536 - len(body)), as_=tenant, key="k")
    assert answer.status == 201


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", "\x80".encode("latin-1").decode("latin-1")]
)
async def test_invalid_token_is_401(api: Api, token: str) -> None:
    answer = await api.get("/payments", as_=token)
    assert is_refused(answer, 401, "AUTHENTICATION_ERROR")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_missing_token_is_401_before_any_other_fault(api: Api) -> None:
    assert is_refused(await api.get("/payments"), 401, "AUTHENTICATION_ERROR")
    assert is_refused(await api.post("/payments", {"amount": 0}), 401, "AUTHENTICATION_ERROR")
    assert is_refused(await api.get("/payments", headers={"Authorization": "Basic eA=="}), 401, "AUTHENTICATION_ERROR")


async def test_an_expired_token_is_refused_as_expired(api: Api, tenant: Tenant) -> None:
    answer = await api.get("/payments", as_=api.signer.device(tenant, exp=1_700_000_000))
    assert is_refused(answer, 401, "AUTHENTICATION_ERROR")
    assert "expired" in answer.body["error"]["message"]


async def test_a_suspended_device_is_refused_on_its_very_next_request(
    api: Api, tenant: Tenant, admin: AsyncConnection[DictRow]
) -> None:
    token = api.signer.device(tenant)
    assert (await api.get("/payments", as_=token)).status == 200
    await admin.execute("UPDATE devices SET status = 'suspended', version = 9 WHERE id = %s", [tenant.device_id])
    for answer in (await api.get("/payments", as_=token), await api.pay(token)):
        assert is_refused(answer, 403, "AUTHORIZATION_ERROR")


async def test_every_answer_has_a_request_id_which_may_be_the_callers(api: Api, tenant: Tenant) -> None:
    assert (await api.get("/payments", as_=tenant)).headers["X-Request-Id"].startswith("req_")
    named = await api.get("/payments", as_=tenant, headers={"X-Request-Id": "till-3.42"})
    assert named.headers["X-Request-Id"] == "till-3.42"
    for odd in ("x" * 65, "a b", "ü", NUMBER + "<"):
        answer = await api.get("/payments", as_=tenant, headers={"X-Request-Id": odd})
        assert answer.headers["X-Request-Id"].startswith("req_")


async def test_request_id_is_in_the_log_and_in_the_history(
    api: Api, tenant: Tenant, caplog: pytest.LogCaptureFixture, admin: AsyncConnection[DictRow]
) -> None:
    caplog.set_level(logging.INFO, "api.requests")
    answer = await api.pay(tenant, key="k-1")
    request_id = answer.headers["X-Request-Id"]
    assert request_id in [getattr(record, "request_id", None) for record in caplog.records]
    found = await admin.execute("SELECT request_id FROM payment_history WHERE payment_id = %s", [answer.body["id"]])
    assert (await found.fetchone()) == {"request_id": request_id}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metadata": {"note": f"paid with {NUMBER}"}}, "metadata.note"),
        ({"metadata": {"a": [{"b": "4111 1111 1111 1111"}]}}, "metadata.a.0.b"),
        ({"metadata": {"cvv": "123"}}, "metadata.cvv"),
        ({"client_reference": NUMBER}, "client_reference"),
        ({"method": {"type": "card", "approval_code": NUMBER}}, "method.approval_code"),
        ({NUMBER: 1}, "…"),
        ({"metadata": {NUMBER: 1}}, "metadata.…"),
    ],
)
async def test_card_number_in_any_field_is_refused_and_never_repeated(
    api: Api,
    tenant: Tenant,
    admin: AsyncConnection[DictRow],
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    field: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await api.pay(tenant, key="k-1", **change)
    assert is_refused(answer, 422, "VALIDATION_ERROR", field)
    assert "1111" not in answer.raw.decode()
    assert "1111" not in caplog.text
    kept = await admin.execute("SELECT * FROM idempotency_records WHERE merchant_id = %s", [tenant.merchant_id])
    assert "1111 1111" not in repr(await kept.fetchall())


@pytest.mark.parametrize("place", ["key", "path", "query", "request id"])
async def test_a_card_number_outside_the_body_is_neither_stored_nor_logged(
    api: Api, tenant: Tenant, admin: AsyncConnection[DictRow], caplog: pytest.LogCaptureFixture, place: str
) -> None:
    caplog.set_level(logging.INFO)
    if place == "key":
        assert is_refused(await api.pay(tenant, key=NUMBER), 422, "VALIDATION_ERROR", "Idempotency-Key")
    elif place == "path":
        await api.get(f"/payments/{NUMBER}", as_=tenant)
    elif place == "query":
        await api.get(f"/payments?client_reference={NUMBER}", as_=tenant)
    else:
        answer = await api.pay(tenant, headers={"X-Request-Id": NUMBER})
        assert NUMBER not in answer.headers["X-Request-Id"]
    ours = [record for record in caplog.records if not record.name.startswith(("uvicorn", "asyncio"))]
    assert NUMBER not in " ".join(f"{record.getMessage()} {vars(record)}" for record in ours)
    found = await admin.execute(
        "SELECT count(*) AS n FROM idempotency_records WHERE key = %s OR path LIKE %s", [NUMBER, f"%{NUMBER}%"]
    )
    assert (await found.fetchone()) == {"n": 0}

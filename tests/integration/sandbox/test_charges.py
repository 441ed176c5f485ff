"""A charge moves money once per reference, and its answer says what happened."""

import asyncio
import re
import time
from typing import Any

import orjson
import pytest

from tests.integration.sandbox.harness import KEY, Sandbox, new_payment_id, order
from tests.polling import eventually


async def test_an_approved_charge_moves_money_and_reports_it(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    answer = await sandbox.charge(f"{payment}:1", kind="card", token="tok_1")
    body = answer.body
    assert answer.status == 200
    assert body["status"] == "succeeded"
    assert (body["reference"], body["payment_id"]) == (f"{payment}:1", payment)
    assert (body["amount"], body["currency"], body["fee"]) == (1_000, "JPY", 32)
    assert re.fullmatch(r"sbx_[a-p]{24}", body["provider_reference"])
    assert re.fullmatch(r"[0-9]{6}", body["approval_code"])
    assert re.fullmatch(r"[0-9]{4}", body["card_last_4"])
    assert body["card_brand"]
    assert "decline_code" not in body
    assert await sandbox.moved(payment) == [("charge", 1_000)]


async def test_a_scanned_customer_code_has_no_card(sandbox: Sandbox) -> None:
    body = (await sandbox.charge(f"{new_payment_id()}:1", kind="qr_cpm")).body
    assert body["status"] == "succeeded"
    assert "card_brand" not in body


async def test_the_same_token_has_the_same_card_number(sandbox: Sandbox) -> None:
    first, second, other = [
        (await sandbox.charge(f"{new_payment_id()}:1", token=token)).body["card_last_4"]
        for token in ("tok_a", "tok_a", "tok_b")
    ]
    assert first == second != other


async def test_a_declined_charge_moves_no_money_and_has_a_reason(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    body = (await sandbox.charge(f"{payment}:1", fate="decline:insufficient_funds")).body
    assert (body["status"], body["decline_code"], body["fee"]) == ("declined", "insufficient_funds", 0)
    assert body["decline_message"]
    assert "approval_code" not in body
    assert await sandbox.moved(payment) == []


async def test_a_partial_charge_reports_the_charged_amount(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    body = (await sandbox.charge(f"{payment}:1", fate="partial:300")).body
    assert (body["status"], body["amount"], body["fee"]) == ("succeeded", 300, 10)
    assert await sandbox.moved(payment) == [("charge", 300)]


async def test_the_same_reference_gets_the_same_answer_and_moves_nothing(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    first = await sandbox.charge(f"{payment}:1")
    again = await sandbox.charge(f"{payment}:1")
    assert (again.status, again.body) == (200, first.body)
    assert await sandbox.moved(payment) == [("charge", 1_000)]


async def test_the_order_of_fields_does_not_make_another_body(sandbox: Sandbox) -> None:
    reference = f"{new_payment_id()}:1"
    await sandbox.charge(reference)
    backwards = dict(reversed(order(reference).items()))
    assert (await sandbox.call("POST", "/v1/charges", body=backwards)).status == 200


@pytest.mark.parametrize(
    "change", [{"amount": 1_001}, {"currency": "USD"}, {"token": "tok_2"}, {"payment_id": "other"}]
)
async def test_the_same_reference_with_another_body_is_refused(sandbox: Sandbox, change: dict[str, Any]) -> None:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1")
    answer = await sandbox.charge(f"{payment}:1", **change)
    assert (answer.status, answer.body["error"]["code"]) == (409, "idempotency_mismatch")
    assert await sandbox.moved(payment) == [("charge", 1_000)]


async def test_a_hundred_concurrent_calls_with_one_reference_move_money_once(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    answers = await asyncio.gather(*(sandbox.charge(f"{payment}:1") for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["provider_reference"] for answer in answers}) == 1
    assert await sandbox.moved(payment) == [("charge", 1_000)]


async def test_a_new_reference_of_the_same_payment_charges_again(sandbox: Sandbox) -> None:
    payment = new_payment_id()  # a new payment, so that a sandbox that moved its money would be noticed
    await sandbox.charge(f"{payment}:1")
    await sandbox.charge(f"{payment}:2")
    assert await sandbox.moved(payment) == [("charge", 1_000)] * 2


BAD = [
    {"reference": ""},
    {"reference": None},
    {"reference": 5},
    {"reference": "x" * 201},
    {"payment_id": ""},
    {"amount": 0},
    {"amount": -1},
    {"amount": 1.0},
    {"amount": "1000"},
    {"amount": True},
    {"amount": 10**12 + 1},
    {"currency": "jpy"},
    {"currency": "YEN!"},
    {"currency": "ÄÖÜ"},
    {"kind": "cash"},
    {"kind": []},
    {"token": 5},
    {"metadata": []},
    {"metadata": {"sandbox": 5}},
    {"metadata": {"sandbox": "aprove"}},
]


@pytest.mark.parametrize("change", BAD, ids=str)
async def test_bad_input_is_refused_and_moves_nothing(sandbox: Sandbox, change: dict[str, Any]) -> None:
    payment = new_payment_id()
    answer = await sandbox.charge(f"{payment}:1", **change)
    assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_request")
    assert answer.body["error"]["message"]
    assert await sandbox.moved(payment) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"5", b"\xff\xfe", b'{"amount":' + b"[" * 9_000, b'{"reference": "\\ud800"}']
)
async def test_a_body_that_is_not_an_object_is_refused(sandbox: Sandbox, body: bytes) -> None:
    assert (await sandbox.call("POST", "/v1/charges", body=body)).status == 400


async def test_a_body_that_cannot_be_stored_is_refused(sandbox: Sandbox) -> None:
    nested: dict[str, Any] = {}
    for _ in range(240):
        nested = {"deeper": nested}
    body = (b'{"x":' * 300) + b"1" + (b"}" * 300)
    answer = await sandbox.charge(f"{new_payment_id()}:1", metadata={"x": nested})
    assert answer.status == 200
    raw = b'{"reference":"deep","payment_id":"deep","amount":1,"currency":"JPY","metadata":' + body + b"}"
    assert (await sandbox.call("POST", "/v1/charges", body=raw)).status == 400


async def test_a_body_over_64_kib_is_refused(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    answer = await sandbox.charge(f"{payment}:1", metadata={"padding": "x" * 65_536})
    assert (answer.status, answer.body["error"]["code"]) == (413, "body_too_large")
    assert await sandbox.moved(payment) == []


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "key-of-the-tests", "Bearer \udcff"])
@pytest.mark.parametrize("route", ["POST /v1/charges", "GET /v1/charges/x", "GET /v1/statements"])
async def test_v1_needs_the_key(sandbox: Sandbox, header: str, route: str) -> None:
    method, path = route.split()
    payment = new_payment_id()
    answer = await sandbox.call(method, path, body=order(payment), headers={"Authorization": header})
    assert (answer.status, answer.body["error"]["code"]) == (401, "unauthorized")
    assert await sandbox.moved(payment) == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("PUT", "/v1/charges"), ("GET", "/v1/refund/x"), ("POST", "/health")]
)
async def test_unknown_routes_and_verbs_are_not_found(sandbox: Sandbox, method: str, path: str) -> None:
    answer = await sandbox.call(method, path)
    assert (answer.status, answer.body["error"]["code"]) == (404, "not_found")


async def test_the_ids_of_a_request_are_echoed_on_success_and_on_failure(sandbox: Sandbox) -> None:
    for path in ("/health", "/v1/charges/unknown"):
        answer = await sandbox.call("GET", path, headers={"X-Request-Id": "req_7", "Mpac-Call-Id": "call_8"})
        assert (answer.headers["X-Request-Id"], answer.headers["Mpac-Call-Id"]) == ("req_7", "call_8")


async def test_an_inquiry_returns_the_real_status(sandbox: Sandbox) -> None:
    reference = f"{new_payment_id()}:1"
    unknown = await sandbox.ask(reference)
    assert (unknown.status, unknown.body["error"]["code"]) == (404, "not_found")
    charged = await sandbox.charge(reference)
    asked = await sandbox.ask(reference)
    assert (asked.status, asked.body) == (200, charged.body)


async def latency(sandbox: Sandbox, milliseconds: int) -> None:
    """Set the latency of all later calls."""
    await sandbox.call("PUT", "/control/latency", body={"min_ms": milliseconds, "max_ms": milliseconds})


async def test_latency_applies_to_v1(empty_sandbox: Sandbox) -> None:
    await latency(empty_sandbox, 120)
    started = time.monotonic()
    await empty_sandbox.charge(f"{new_payment_id()}:1")
    assert time.monotonic() - started >= 0.119  # the clock has a resolution of milliseconds


async def test_latency_does_not_apply_to_control(empty_sandbox: Sandbox) -> None:
    await latency(empty_sandbox, 600_000)  # longer than the client's timeout
    assert (await empty_sandbox.call("GET", "/control/ledger")).status == 200


async def test_a_charge_is_made_although_its_caller_disconnects_during_the_latency(empty_sandbox: Sandbox) -> None:
    payment = new_payment_id()
    body = orjson.dumps(order(f"{payment}:1"))
    await latency(empty_sandbox, 300)
    _, writer = await asyncio.open_connection(*empty_sandbox.url.removeprefix("http://").split(":"))
    head = f"POST /v1/charges HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    for _ in range(2):  # requests are read in the order in which they arrive
        await empty_sandbox.call("GET", "/health")
    writer.close()
    await eventually(lambda: empty_sandbox.moved(payment), until=lambda moved: moved == [("charge", 1_000)])

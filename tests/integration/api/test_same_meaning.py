"""Two bodies with the same meaning are the same request, however they are written."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.factories import PaymentMaker, Tenant
from tests.harness import Api
from tests.integration.api.keyed_requests import OF_TILLS, Admin, Posting, Shop, a_full_refund, a_statement
from tests.integration.api.raw_http import CASH, Wire

Making = Callable[[Shop], Awaitable[Posting]]
PAYMENT = {"amount": 1_000, "method": {"type": "cash"}}
ORDER = {
    "order_type": "takeaway",
    "items": [{"name": "Tea", "quantity": 1, "unit_price": 100, "tax_rate": "0.1"}],
}


@pytest.fixture
def shop(api: Api, admin: Admin, payments: PaymentMaker) -> Shop:
    return Shop(api, admin, payments)


def backwards(value: Any) -> Any:
    """Return the value with the names of every object in reverse order."""
    if isinstance(value, dict):
        return {name: backwards(inner) for name, inner in reversed(value.items())}
    return [backwards(inner) for inner in value] if isinstance(value, list) else value


SPELLINGS: dict[str, Callable[[Any], bytes]] = {
    "order": lambda body: json.dumps(backwards(body)).encode(),
    "blanks": lambda body: json.dumps(body, indent=3).encode() + b"\n",
    "escapes": lambda body: json.dumps(body, ensure_ascii=True).replace("a", "\\u0061").encode(),
    "plain": lambda body: json.dumps(body, ensure_ascii=False).encode(),
    "utf-16": lambda body: json.dumps(body).encode("utf-16"),
}


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize("making", OF_TILLS, ids=lambda making: making.__name__)
async def test_a_body_written_differently_gets_the_same_answer(shop: Shop, making: Making, spelled: str) -> None:
    posting = await making(shop)
    first = await posting.send(shop.api, shop.tenant, key="k")
    again = await posting.send(shop.api, shop.tenant, key="k", body=SPELLINGS[spelled](posting.body))
    assert first.status == 201, first.body
    assert (again.status, again.raw, again.headers.get("Idempotent-Replayed")) == (201, first.raw, "true")


DEFAULTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/payments", PAYMENT, {"tip_amount": 0}),
    ("/payments", PAYMENT, {"currency": "JPY"}),
    ("/payments", PAYMENT, {"currency": None, "bill_id": None, "client_reference": None, "on_too_late": None}),
    ("/payments", PAYMENT, {"expires_in": 300, "metadata": {}}),
    ("/payments", PAYMENT, {"method": {"type": "cash", "cash_received": 1_000}}),
    ("/payments", PAYMENT, {"method": {"type": "cash", "cash_received": None}}),
    (
        "/payments",
        {"amount": 5, "method": {"type": "card", "approval_code": "A1"}},
        {"method": {"type": "card", "approval_code": "A1", "result": "approved", "provider": None}},
    ),
    ("/orders", ORDER, {"discount_amount": 0, "submit": False, "table_number": None}),
    ("/orders", ORDER, {"currency": "JPY"}),
    ("/orders", ORDER, {"items": [{**ORDER["items"][0], "tax_rate": "0.10"}]}),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("path", "body", "spelled_out"), DEFAULTS)
@pytest.mark.parametrize("spelled_first", [False, True])
async def test_a_body_with_a_default_spelled_out_gets_the_same_answer(
    api: Api, tenant: Tenant, path: str, body: dict[str, Any], spelled_out: dict[str, Any], spelled_first: bool
) -> None:
    asked = [body, {**body, **spelled_out}]
    first, again = [
        await api.post(path, each, as_=tenant, key="k") for each in (reversed(asked) if spelled_first else asked)
    ]
    assert first.status == 201, first.body
    assert (again.status, again.raw, again.headers.get("Idempotent-Replayed")) == (201, first.raw, "true")


async def test_an_approval_code_of_a_refund_alone_means_approved(shop: Shop) -> None:
    posting = await a_full_refund(shop)
    reports = {"approval_code": "A1"}, {"approval_code": "A1", "result": "approved", "slip_number": None}
    first, again = [
        await posting.send(shop.api, shop.tenant, key="k", body={**posting.body, "report": each}) for each in reports
    ]
    assert first.status == 201, first.body
    assert (again.status, again.raw, again.headers.get("Idempotent-Replayed")) == (201, first.raw, "true")


async def test_a_body_that_names_the_terminals_store_gets_the_same_answer(api: Api, tenant: Tenant) -> None:
    first = await api.pay(tenant, key="k")
    assert (await api.pay(tenant, key="k", store_id=tenant.store_id)).raw == first.raw


OTHERS: list[dict[str, Any]] = [
    {"amount": 1_001},
    {"tip_amount": 1},
    {"currency": "USD"},
    {"expires_in": 301},
    {"metadata": {"a": 1}},
    {"client_reference": "r"},
    {"method": {"type": "cash", "cash_received": 1_001}},
    {"method": {"type": "card", "approval_code": "A1"}},
]


@pytest.mark.parametrize("change", OTHERS, ids=str)
async def test_a_body_with_another_meaning_is_refused_with_advice(
    api: Api, tenant: Tenant, change: dict[str, Any]
) -> None:
    first = await api.pay(tenant, key="k")
    other = await api.pay(tenant, key="k", **change)
    assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    # The advice must not suggest a new payment before the existing one was looked up.
    assert "Look up the result of that request" in other.body["error"]["message"]
    assert f"GET /api/v1/payments/{first.body['id']}" in other.details[0]["issue"]


WRONG: list[bytes] = [
    b'{"amount":0,"method":{"type":"cash"}}',
    b'{"amount":1000,"method":{"type":"cash"},"metadata":{"a":"\\ud800"}}',
    b'{"amount":1.0,"method":{"type":"cash"}}',
    b'{"amount":' + b"9" * 40 + b',"method":{"type":"cash"}}',
    b"[]",
    b"7",
    b'{"amount":1000,"method":{"type":"qr","mode":"cpm","provider":"nobody"}}',
    b'{"amount":1000,"method":{"type":"cash"},"metadata":{"pan":"4111111111111111"}}',
    b'{"amount":1000,"metadata":' + b"[" * 800 + b"]" * 800 + b',"method":{"type":"cash"}}',
]


@pytest.mark.parametrize("body", WRONG, ids=lambda body: body[:50].decode())
async def test_a_refusal_is_the_answer_to_every_spelling_of_it(api: Api, tenant: Tenant, body: bytes) -> None:
    first = await api.post("/payments", body, as_=tenant, key="k")
    again = await api.post("/payments", b"  " + body.replace(b":", b" : "), as_=tenant, key="k")
    good = await api.pay(tenant, key="k")
    assert first.status == 422, first.body
    assert (again.status, again.headers.get("Idempotent-Replayed")) == (422, "true") or b"[[[" in body
    assert (good.status, good.code) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_a_statement_with_its_mapping_in_another_order_gets_the_same_answer(shop: Shop) -> None:
    posting = await a_statement(shop)
    mapping = {"columns": {"our_reference": "reference", "amount": "amount"}, "currency": "JPY"}
    manager = shop.api.signer.user(shop.tenant, role="store_manager")
    raws = []
    for spelled in (json.dumps(mapping), json.dumps(backwards(mapping), indent=1)):
        path = f"{posting.path}&mapping={quote(spelled)}"
        headers = {"Content-Type": "text/csv"}
        file = b"reference,amount\npay_1:1,5\n"
        answer = await shop.api.post(path, file, as_=manager, key="k", headers=headers)
        assert answer.status == 201, answer.body
        raws.append(answer.raw)
    assert raws[0] == raws[1]


async def test_a_statement_of_lines_in_another_order_of_names_gets_the_same_answer(shop: Shop) -> None:
    posting = await a_statement(shop)
    manager = shop.api.signer.user(shop.tenant, role="store_manager")
    mapping = {"columns": {"our_reference": "reference", "amount": "amount"}, "currency": "JPY"}
    body = {"provider": "sandbox", "mapping": mapping, "lines": [{"reference": "pay_1:1", "amount": "5"}]}
    path = posting.path.partition("?")[0]
    first, again = [await shop.api.post(path, each, as_=manager, key="k") for each in (body, backwards(body))]
    assert first.status == 201, first.body
    assert (again.raw, again.headers.get("Idempotent-Replayed")) == (first.raw, "true")


SINGLE = {
    "Idempotency-Key": [b"k-1", b"k-1"],
    "idempotency-key": [b"k-1", b"k-2"],
    "Content-Type": [b"application/json", b"application/json"],
    "Host": [b"x", b"x"],
    "Authorization": [b"TOKEN", b"TOKEN"],
}


@pytest.mark.parametrize("name", SINGLE)
async def test_header_that_must_be_unique_is_refused_when_sent_twice(wire: Wire, name: str) -> None:
    usual = {
        "Host": b"x",
        "Authorization": wire.token,
        "Content-Type": b"application/json",
        "Idempotency-Key": b"k-1",
        "Content-Length": b"%d" % len(CASH),
    }
    headers = [(other, value) for other, value in usual.items() if other.lower() != name.lower()]
    headers += [(name, wire.token if value == b"TOKEN" else value) for value in SINGLE[name]]
    lines = b"".join(b"%b: %b\r\n" % (other.encode(), value) for other, value in headers)
    answer = await wire.send(b"POST /api/v1/payments HTTP/1.1\r\n" + lines + b"\r\n" + CASH)
    assert answer.status == 400, answer
    assert name.lower().encode() in answer.body.lower()

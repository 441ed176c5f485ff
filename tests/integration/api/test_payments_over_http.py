"""Test the contract's payment routes over real HTTP."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.conftest import MakeTenant
from tests.contract_schemas import fields
from tests.factories import PaymentMaker, Signer, Tenant
from tests.harness import Api
from tests.polling import DEADLINE_SECONDS

METHODS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "cash"}, {"processing_mode": "manual", "provider": "cash", "cash_received": 1_000, "change_amount": 0}),
    ({"type": "cash", "cash_received": 2_000}, {"cash_received": 2_000, "change_amount": 1_000}),
    ({"type": "card", "approval_code": "A1"}, {"processing_mode": "external", "approval_code": "A1"}),
    ({"type": "emoney", "result": "approved"}, {"processing_mode": "external", "provider": "external"}),
    ({"type": "qr", "mode": "cpm"}, {"processing_mode": "provider", "provider": "sandbox"}),
    ({"type": "qr", "mode": "mpm", "provider": "sandbox"}, {"method": {"type": "qr", "mode": "mpm"}}),
    ({"type": "card", "provider": "sandbox", "token": "tok_1"}, {"processing_mode": "provider"}),
]


async def test_example_of_the_contract_gets_the_documented_answer(api: Api, tenant: Tenant) -> None:
    answer = await api.pay(tenant, amount=0)
    assert answer.status == 422
    assert answer.body == {
        "error": {
            "code": "VALIDATION_ERROR",
            "message": "Invalid request parameters",
            "details": [{"field": "amount", "issue": "Must be greater than 0"}],
        }
    }


async def test_a_payment_is_recorded_and_found_again(api: Api, tenant: Tenant) -> None:
    created = await api.pay(tenant)
    assert created.status == 201
    assert set(created.body) == set(fields("payment"))
    found = await api.get(f"/payments/{created.body['id']}", as_=tenant)
    assert (found.status, found.body) == (200, created.body)


@pytest.mark.parametrize(("method", "fields"), METHODS)
async def test_every_payment_method_is_accepted(
    api: Api, tenant: Tenant, method: dict[str, Any], fields: dict[str, Any]
) -> None:
    answer = await api.pay(tenant, method=method)
    assert (answer.status, answer.body["status"]) == (201, "pending")
    assert {name: answer.body[name] for name in fields} == fields
    assert "token" not in answer.raw.decode()


async def test_the_default_currency_of_a_payment_is_that_of_its_store(
    api: Api, tenant: Tenant, admin: psycopg.AsyncConnection[DictRow]
) -> None:
    await admin.execute("UPDATE stores SET currency = 'USD' WHERE id = %s", [tenant.store_id])
    assert (await api.pay(tenant)).body["currency"] == "USD"
    assert (await api.pay(tenant, currency="JPY")).body["currency"] == "JPY"


async def test_default_currency_is_yen_and_times_are_utc(api: Api, tenant: Tenant) -> None:
    body = (await api.pay(tenant)).body
    assert body["currency"] == "JPY"
    assert body["created_at"].endswith("Z")
    assert (await api.pay(tenant, currency="USD")).body["currency"] == "USD"


async def test_replay_is_the_same_byte_for_byte_and_has_its_header(api: Api, tenant: Tenant) -> None:
    first = await api.pay(tenant, key="k-1", metadata={"ü": [1, 2.5, None, True]})
    again = await api.pay(tenant, key="k-1", metadata={"ü": [1, 2.5, None, True]})
    assert (again.status, again.raw) == (201, first.raw)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_a_replay_stays_as_it_was_when_the_payment_has_moved_on(
    api: Api, tenant: Tenant, payments: PaymentMaker
) -> None:
    first = await api.pay(tenant, key="k-1")
    await payments.process(first.body["id"])
    assert (await api.pay(tenant, key="k-1")).raw == first.raw


async def test_an_idempotency_key_with_another_body_is_refused(api: Api, tenant: Tenant) -> None:
    await api.pay(tenant, key="k-1")
    answer = await api.pay(tenant, key="k-1", amount=2_000)
    assert (answer.status, answer.code) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_a_stored_refusal_is_replayed(api: Api, tenant: Tenant) -> None:
    first = await api.pay(tenant, key="k-1", amount=0)
    again = await api.pay(tenant, key="k-1", amount=0)
    assert (again.status, again.raw, again.headers["Idempotent-Replayed"]) == (422, first.raw, "true")
    other = await api.pay(tenant, key="k-1", amount=1)
    assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_conflict_is_not_stored_as_the_answer_to_a_key(api: Api, tenant: Tenant) -> None:
    await api.pay(tenant, client_reference="till-1")
    first = await api.pay(tenant, key="k-1", client_reference="till-1")
    assert (first.status, first.code) == (409, "DUPLICATE_RESOURCE")
    assert (await api.pay(tenant, key="k-1", client_reference="till-2")).status == 201


async def test_a_hundred_concurrent_requests_with_one_key_create_one_payment(api: Api, tenant: Tenant) -> None:
    answers = await asyncio.gather(*(api.pay(tenant, key="k-1") for _ in range(100)))
    assert {answer.status for answer in answers} <= {201, 409}
    assert len({answer.raw for answer in answers if answer.status == 201}) == 1
    for answer in answers:
        if answer.status == 409:
            assert answer.code == "IDEMPOTENCY_KEY_IN_USE"
            assert int(answer.headers["Retry-After"]) >= 1
    assert len((await api.get("/payments", as_=tenant)).body["data"]) == 1


@pytest.mark.parametrize("key", ["", "x" * 101, "a\tb", "ключ", "é"])
async def test_a_key_that_is_not_printable_is_malformed(api: Api, tenant: Tenant, key: str) -> None:
    answer = await api.post("/payments", {"amount": 1, "method": {"type": "cash"}}, as_=tenant, key=key)
    assert (answer.status, answer.details[0]["field"]) == (400, "Idempotency-Key")


async def test_a_key_is_required(api: Api, tenant: Tenant) -> None:
    answer = await api.post("/payments", {"amount": 1, "method": {"type": "cash"}}, as_=tenant)
    assert (answer.status, answer.code, answer.details[0]["field"]) == (400, "VALIDATION_ERROR", "Idempotency-Key")


async def test_cancel_over_http_can_be_repeated(api: Api, tenant: Tenant) -> None:
    payment_id = (await api.pay(tenant, method={"type": "qr", "mode": "cpm"})).body["id"]
    answer = await api.post(f"/payments/{payment_id}/cancel", {"reason": "wrong amount"}, as_=tenant)
    assert (answer.status, answer.body["status"], answer.body["cancel_reason"]) == (200, "cancelled", "wrong amount")
    again = await api.post(f"/payments/{payment_id}/cancel", as_=tenant)
    assert (again.status, again.body["version"]) == (200, answer.body["version"])


async def test_an_impossible_cancel_is_a_conflict_that_names_the_status(
    api: Api, tenant: Tenant, payments: PaymentMaker
) -> None:
    payment_id = (await api.pay(tenant)).body["id"]
    await payments.process(payment_id)
    answer = await api.post(f"/payments/{payment_id}/cancel", as_=tenant)
    assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")
    assert "completed" in answer.details[0]["issue"]


async def test_a_list_is_paged_by_a_cursor(api: Api, tenant: Tenant) -> None:
    made = [(await api.pay(tenant)).body["id"] for _ in range(5)]
    seen, cursor = [], ""
    while True:
        page = (await api.get(f"/payments?limit=2{cursor}", as_=tenant)).body
        seen += [entry["id"] for entry in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]


async def test_a_payment_whose_answer_was_lost_is_found_by_its_client_reference(api: Api, tenant: Tenant) -> None:
    created = (await api.pay(tenant, client_reference="till-7")).body
    found = (await api.get("/payments?client_reference=till-7", as_=tenant)).body
    assert [entry["id"] for entry in found["data"]] == [created["id"]]


async def test_a_wait_answers_when_the_version_moves(api: Api, tenant: Tenant, payments: PaymentMaker) -> None:
    created = (await api.pay(tenant)).body
    waiting = asyncio.ensure_future(api.get(f"/payments/{created['id']}?wait=20&since_version=1", as_=tenant))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await payments.process(created["id"])
    answer = await asyncio.wait_for(waiting, DEADLINE_SECONDS)  # earlier than its own timeout
    assert answer.body["version"] > 1


async def test_a_wait_is_never_longer_than_the_setting(serve: Any, tenant: Tenant) -> None:
    async with serve(max_wait_seconds=1) as api:
        created = (await api.pay(tenant)).body
        asking = api.get(f"/payments/{created['id']}?wait=60&since_version=9", as_=tenant)
        answer = await asyncio.wait_for(asking, DEADLINE_SECONDS)
        assert (answer.status, answer.body["version"]) == (200, 1)


async def test_timeline_lists_events_oldest_first(api: Api, tenant: Tenant, payments: PaymentMaker) -> None:
    payment_id = (await api.pay(tenant)).body["id"]
    await payments.process(payment_id)
    told = (await api.get(f"/payments/{payment_id}/events", as_=tenant)).body["data"]
    assert [entry["event"] for entry in told if entry["type"] == "transition"] == ["create", "claim", "complete"]


async def test_payment_by_staff_records_the_user(api: Api, tenant: Tenant, signer: Signer) -> None:
    payment_id = (await api.pay(signer.user(tenant))).body["id"]
    told = (await api.get(f"/payments/{payment_id}/events", as_=tenant)).body["data"]
    assert (told[0]["caller_type"], told[0]["caller_id"]) == ("user", "usr_staff")


@pytest.mark.parametrize("path", ["", "/events", "/cancel", "/stream"])
async def test_a_payment_of_another_tenant_is_404(api: Api, tenant: Tenant, make_tenant: MakeTenant, path: str) -> None:
    payment_id = (await api.pay(tenant)).body["id"]
    other = await make_tenant()
    answer = await api.call("POST" if path == "/cancel" else "GET", f"/payments/{payment_id}{path}", as_=other)
    unknown = await api.call("POST" if path == "/cancel" else "GET", f"/payments/pay_unknown{path}", as_=other)
    assert (answer.status, answer.code) == (404, "RESOURCE_NOT_FOUND")
    assert answer.body == unknown.body


async def test_stream_sends_each_version_until_the_payment_is_final(
    api: Api, tenant: Tenant, payments: PaymentMaker
) -> None:
    payment_id = (await api.pay(tenant)).body["id"]
    stream = api.events(f"/payments/{payment_id}/stream", as_=tenant)
    async with asyncio.timeout(DEADLINE_SECONDS):
        events = [await anext(stream)]
        await payments.process(payment_id)
        events += [event async for event in stream]
    versions = [event["version"] for event in events]
    assert versions == sorted(set(versions))
    assert (events[0]["status"], events[-1]["status"]) == ("pending", "completed")

"""Refund requests are validated, stored once per key, and never exceed what was captured (F19)."""

import asyncio
from typing import Any

import psycopg
import pytest

from tests.conftest import MakeTenant
from tests.contract_schemas import fields
from tests.factories import CASH, QR, TERMINAL, WHY, Signer, Tenant, refund_key
from tests.fakes import FakeProvider
from tests.harness import Api
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, evidence, post_refund, shown, sums
from workflows.errors import InvalidRequest, ResourceNotFound
from workflows.providers.base import ActionRequired, Declined


async def test_a_refund_is_recorded_pending_with_its_reservation_and_found_again(
    api: Api, refunds: RefundMaker, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    created = await post_refund(api, refunds.tenant, payment_id, amount=300, metadata={"dish": "soup"})
    assert created.status == 201, created.body
    assert set(created.body) == set(fields("refund"))
    expected = {
        "payment_id": payment_id,
        "status": "pending",
        "version": 1,
        "amount": 300,
        "currency": "JPY",
        **WHY,
        "provider": "sandbox",
        "outcome_known": True,
        "needs_review": False,
        "settlement_id": None,
        "store_id": refunds.tenant.store_id,
        "metadata": {"dish": "soup"},
    }
    assert {name: created.body[name] for name in expected} == expected
    assert await sums(admin, payment_id) == ("completed", 300, 0)
    found = await evidence(admin, created.body["id"])
    assert (found.history[0]["caller_type"], found.history[0]["caller_id"]) == ("device", refunds.tenant.device_id)
    for path in (f"/refunds/{created.body['id']}", f"/payments/{payment_id}/refunds", "/refunds"):
        answer = await api.get(path, as_=refunds.tenant)
        assert answer.body == created.body or answer.body["data"] == [created.body]


@pytest.mark.parametrize("tip", [0, 150])
async def test_refund_without_an_amount_is_the_whole_rest_including_the_tip(
    refunds: RefundMaker, admin: Admin, tip: int
) -> None:
    payment_id = await refunds.paid(tip_amount=tip)
    await refunds.pending(payment_id, 300)
    rest = shown(await refunds.ask(payment_id))
    assert rest["amount"] == 700 + tip
    assert await sums(admin, payment_id) == ("completed", 1_000 + tip, 0)


async def test_refund_above_the_rest_is_refused_with_the_rest(refunds: RefundMaker, admin: Admin) -> None:
    payment_id = await refunds.paid(tip_amount=50)
    await refunds.pending(payment_id, 800)
    with pytest.raises(InvalidRequest) as raised:
        await refunds.ask(payment_id, 251)
    assert raised.value.details[0].field == "amount"
    assert "250" in raised.value.details[0].issue
    await refunds.pending(payment_id, 250)
    for amount in (None, 1):
        with pytest.raises(InvalidRequest, match="Invalid request parameters") as raised:
            await refunds.ask(payment_id, amount)
        assert "Nothing" in raised.value.details[0].issue
    assert await sums(admin, payment_id) == ("completed", 1_050, 0)


async def payment_in(refunds: RefundMaker, provider: FakeProvider, status: str) -> str:
    """Create a payment, bring it to ``status``, and return its id."""
    if status == "processing":
        provider.charges.append(ActionRequired({"type": "display_qr"}, "r"))
    if status == "failed":
        provider.charges.append(Declined("insufficient_funds"))
    payment_id = await refunds.payments.pending(QR)
    if status == "cancelled":
        await refunds.payments.cancel(payment_id)
    elif status != "pending":
        await refunds.payments.process(payment_id)
    return payment_id


@pytest.mark.parametrize("status", ["pending", "processing", "failed", "cancelled"])
async def test_only_a_completed_or_refunded_payment_can_be_refunded(
    api: Api, refunds: RefundMaker, provider: FakeProvider, admin: Admin, status: str
) -> None:
    payment_id = await payment_in(refunds, provider, status)
    refused = await post_refund(api, refunds.tenant, payment_id, amount=1, key="k-1")
    assert (refused.status, refused.code) == (409, "INVALID_STATUS_TRANSITION")
    assert refused.details[0]["field"] == "status"
    assert f"The payment is {status};" in refused.details[0]["issue"]
    assert await sums(admin, payment_id) == (status, 0, 0)


async def test_conflict_is_not_stored_as_an_answer(api: Api, refunds: RefundMaker) -> None:
    payment_id = await refunds.payments.pending(QR)
    assert (await post_refund(api, refunds.tenant, payment_id, key="k-1")).status == 409
    await refunds.payments.process(payment_id)
    assert (await post_refund(api, refunds.tenant, payment_id, key="k-1")).status == 201


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": None}, "reason"),
        ({"staff_code": ""}, "staff_code"),
        ({"staff_code": 7}, "staff_code"),
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": "100"}, "amount"),
        ({"amount": True}, "amount"),
        ({"ammount": 5}, "ammount"),
        ({"reason": "card 4111 1111 1111 1111"}, "reason"),
    ],
)
async def test_invalid_refund_is_refused_naming_the_field(
    api: Api, refunds: RefundMaker, admin: Admin, fields: dict[str, Any], field: str
) -> None:
    payment_id = await refunds.paid()
    refused = await post_refund(api, refunds.tenant, payment_id, **fields)
    assert (refused.status, refused.code) == (422, "VALIDATION_ERROR")
    assert [detail["field"] for detail in refused.details] == [field]
    assert await sums(admin, payment_id) == ("completed", 0, 0)


@pytest.mark.parametrize("missing", ["reason", "staff_code"])
async def test_refund_requires_a_reason_and_a_staff_code(api: Api, refunds: RefundMaker, missing: str) -> None:
    payment_id = await refunds.paid()
    body = dict(WHY)
    del body[missing]
    refused = await api.post(f"/payments/{payment_id}/refund", body, as_=refunds.tenant, key="k-1")
    assert (refused.status, refused.details[0]["field"]) == (422, missing)


async def test_the_same_key_gets_the_same_answer_byte_for_byte(api: Api, refunds: RefundMaker, admin: Admin) -> None:
    payment_id = await refunds.paid()
    first = await post_refund(api, refunds.tenant, payment_id, amount=300, key="k-1")
    await refunds.process(first.body["id"])
    again = await post_refund(api, refunds.tenant, payment_id, amount=300, key="k-1")
    assert (again.status, again.raw, again.headers["Idempotent-Replayed"]) == (201, first.raw, "true")
    other = await post_refund(api, refunds.tenant, payment_id, amount=301, key="k-1")
    assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    missing = await api.post(f"/payments/{payment_id}/refund", {"reason": "r", "staff_code": "s"}, as_=refunds.tenant)
    assert (missing.status, missing.details[0]["field"]) == (400, "Idempotency-Key")
    assert await sums(admin, payment_id) == ("refunded", 300, 300)


async def test_refusal_is_stored_and_replayed(api: Api, refunds: RefundMaker) -> None:
    payment_id = await refunds.paid()
    first = await post_refund(api, refunds.tenant, payment_id, amount=1_001, key="k-1")
    again = await post_refund(api, refunds.tenant, payment_id, amount=1_001, key="k-1")
    assert (first.status, again.raw, again.headers["Idempotent-Replayed"]) == (422, first.raw, "true")


async def test_a_hundred_concurrent_requests_with_one_key_create_one_refund(
    api: Api, refunds: RefundMaker, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    answers = await asyncio.gather(
        *(post_refund(api, refunds.tenant, payment_id, amount=10, key="k-1") for _ in range(100))
    )
    assert {answer.status for answer in answers} <= {201, 409, 503}
    assert len({answer.raw for answer in answers if answer.status == 201}) == 1
    assert {answer.code for answer in answers if answer.status == 409} <= {"IDEMPOTENCY_KEY_IN_USE"}
    assert await sums(admin, payment_id) == ("completed", 10, 0)


async def test_the_same_key_for_two_payments_creates_two_refunds(refunds: RefundMaker) -> None:
    paid = [await refunds.paid() for _ in range(2)]
    made = {
        await refunds.pending(payment_id, key=refund_key(payment_id, refunds.tenant.device, value="k-1"))
        for payment_id in paid
    }
    assert len(made) == 2


async def test_only_three_of_fifty_concurrent_refunds_of_thirty_percent_succeed(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    results = await asyncio.gather(*(refunds.pending(payment_id, 300) for _ in range(50)), return_exceptions=True)
    accepted = [result for result in results if isinstance(result, str)]
    refused = [result for result in results if isinstance(result, InvalidRequest)]
    assert (len(accepted), len(refused)) == (3, 47)
    assert await sums(admin, payment_id) == ("completed", 900, 0)
    await refunds.process(*accepted)
    assert await sums(admin, payment_id) == ("refunded", 900, 900)
    assert sum(provider.moved[f"{refund_id}:1"] for refund_id in accepted) == 900


async def test_only_three_of_fifty_refunds_of_thirty_percent_over_http_succeed(
    api: Api, refunds: RefundMaker, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    answers = await asyncio.gather(*(post_refund(api, refunds.tenant, payment_id, amount=300) for _ in range(50)))
    assert sorted(answer.status for answer in answers) == [201] * 3 + [422] * 47
    assert await sums(admin, payment_id) == ("completed", 900, 0)


async def test_database_refuses_a_reservation_above_the_captured_amount(refunds: RefundMaker, admin: Admin) -> None:
    payment_id = await refunds.paid()
    with pytest.raises(psycopg.errors.CheckViolation, match="payments_refunds_within_captured"):
        await admin.execute("UPDATE payments SET refund_reserved = 1001 WHERE id = %s", [payment_id])


@pytest.mark.parametrize("request_", [CASH, TERMINAL], ids=["cash", "terminal"])
async def test_cash_and_the_terminals_own_card_sales_can_be_refunded(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin, request_: Any
) -> None:
    payment_id = await refunds.paid(request_)
    reported = {"report": {"result": "approved"}} if request_ is TERMINAL else {}
    refund_id = await refunds.refunded(payment_id, 400, **reported)
    found = await evidence(admin, refund_id)
    assert (found.status, found.events, found.outcomes) == ("completed", ["create", "claim", "complete"], ["succeeded"])
    assert found.row["provider"] == request_.provider
    assert await sums(admin, payment_id) == ("refunded", 400, 400)
    assert provider.calls == []


async def test_lists_are_paged_newest_first_and_filtered(api: Api, refunds: RefundMaker) -> None:
    payment_id, other = await refunds.paid(), await refunds.paid()
    made = [await refunds.pending(payment_id, 100) for _ in range(5)]
    elsewhere = await refunds.refunded(other)
    for path in (f"/payments/{payment_id}/refunds?", f"/refunds?payment_id={payment_id}&", "/refunds?status=pending&"):
        seen: list[str] = []
        cursor = ""
        while True:
            page = (await api.get(f"{path}limit=2{cursor}", as_=refunds.tenant)).body
            seen += [refund["id"] for refund in page["data"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == made[::-1]
    completed = (await api.get("/refunds?status=completed", as_=refunds.tenant)).body["data"]
    assert [refund["id"] for refund in completed] == [elsewhere]
    assert (await api.get("/refunds?store_id=sto_other", as_=refunds.tenant)).body["data"] == []
    assert (await api.get("/refunds?status=lost", as_=refunds.tenant)).status == 400


async def test_refunds_are_invisible_to_another_tenant(
    api: Api, refunds: RefundMaker, make_tenant: MakeTenant, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    refund_id = await refunds.pending(payment_id, 100)
    stranger = await make_tenant()
    for path in (f"/refunds/{refund_id}", f"/payments/{payment_id}/refunds", f"/payments/{payment_id}/events"):
        answer = await api.get(path, as_=stranger)
        assert (answer.status, answer.code) == (404, "RESOURCE_NOT_FOUND")
    assert (await post_refund(api, stranger, payment_id)).status == 404
    for query in ("", f"?payment_id={payment_id}", f"?store_id={refunds.tenant.store_id}"):
        assert (await api.get(f"/refunds{query}", as_=stranger)).body["data"] == []
    with pytest.raises(ResourceNotFound):
        await refunds.ask(payment_id, caller=stranger.device)
    assert await sums(admin, payment_id) == ("completed", 100, 0)


async def test_callers_above_the_store_may_refund_and_unknown_callers_may_not(
    api: Api, refunds: RefundMaker, signer: Signer, tenant: Tenant
) -> None:
    payment_id = await refunds.paid()
    for role in ("staff", "store_manager", "merchant_admin", "psp_admin", "system_op"):
        answer = await post_refund(api, signer.user(tenant, role=role), payment_id, amount=10)
        assert answer.status == 201, (role, answer.body)
    assert (await api.post(f"/payments/{payment_id}/refund", {}, key="k")).status == 401

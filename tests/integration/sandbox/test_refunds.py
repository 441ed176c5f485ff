"""A refund moves money once per reference, and never more than was charged."""

import asyncio

from tests.integration.sandbox.harness import HOUR_MS, Sandbox, new_payment_id, order
from tests.polling import eventually

CHARGED = [("charge", 1_000)]


async def charged(sandbox: Sandbox, *, fate: str = "") -> str:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1", fate=fate)
    return payment


async def test_a_refund_moves_money_and_reports_it(sandbox: Sandbox) -> None:
    payment = await charged(sandbox)
    answer = await sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=400)
    body = answer.body
    assert (answer.status, body["status"], body["amount"], body["fee"]) == (200, "succeeded", 400, 0)
    assert (body["charge_reference"], body["payment_id"]) == (f"{payment}:1", payment)
    assert (await sandbox.call("GET", f"/v1/refunds/{payment}:r1")).body == body
    assert await sandbox.moved(payment) == [*CHARGED, ("refund", 400)]


async def test_an_unknown_refund_is_not_found(sandbox: Sandbox) -> None:
    payment = await charged(sandbox)
    assert (await sandbox.call("GET", f"/v1/refunds/{payment}:1")).status == 404  # the charge's reference


async def test_a_refund_may_have_the_reference_of_its_charge(sandbox: Sandbox) -> None:
    payment = await charged(sandbox)
    answer = await sandbox.refund(f"{payment}:1", of=f"{payment}:1", amount=400)
    assert answer.body["status"] == "succeeded"


async def test_a_refund_reference_moves_money_once(sandbox: Sandbox) -> None:
    payment = await charged(sandbox)
    calls = (sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=400) for _ in range(50))
    answers = await asyncio.gather(*calls)
    assert len({answer.body["provider_reference"] for answer in answers}) == 1
    assert await sandbox.moved(payment) == [*CHARGED, ("refund", 400)]
    other = await sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=401)
    assert (other.status, other.body["error"]["code"]) == (409, "idempotency_mismatch")


async def test_fifty_refunds_of_30_percent_give_exactly_three(sandbox: Sandbox) -> None:
    payment = await charged(sandbox)
    calls = (sandbox.refund(f"{payment}:r{number}", of=f"{payment}:1", amount=300) for number in range(50))
    answers = await asyncio.gather(*calls)
    declined = [answer.body for answer in answers if answer.body["status"] == "declined"]
    assert len(declined) == 47
    assert {body["decline_code"] for body in declined} == {"exceeds_captured"}
    assert await sandbox.moved(payment) == [*CHARGED, *[("refund", 300)] * 3]


async def test_exactly_the_charged_amount_can_be_refunded(sandbox: Sandbox) -> None:
    payment = await charged(sandbox, fate="partial:700")
    too_much = await sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=701)
    assert too_much.body["decline_code"] == "exceeds_captured"
    assert (await sandbox.refund(f"{payment}:r2", of=f"{payment}:1", amount=700)).body["status"] == "succeeded"
    assert (await sandbox.refund(f"{payment}:r3", of=f"{payment}:1", amount=1)).body["status"] == "declined"


async def test_a_pending_refund_reserves_its_amount(sandbox: Sandbox) -> None:
    payment = await charged(sandbox)
    pending = await sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=800, fate=f"pending:{HOUR_MS}")
    assert pending.body["status"] == "pending"
    second = await sandbox.refund(f"{payment}:r2", of=f"{payment}:1", amount=300)
    assert second.body["decline_code"] == "exceeds_captured"
    await sandbox.advance_clock()
    await eventually(lambda: sandbox.moved(payment), until=lambda moved: moved == [*CHARGED, ("refund", 800)])


async def test_a_declined_refund_releases_its_amount(sandbox: Sandbox) -> None:
    payment = await charged(sandbox)
    await sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=1_000, fate="decline:x")
    again = await sandbox.refund(f"{payment}:r2", of=f"{payment}:1", amount=1_000)
    assert again.body["status"] == "succeeded"


async def test_a_refund_without_a_charge_is_declined(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    unknown = await sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=1)
    assert unknown.body["decline_code"] == "charge_not_found"
    await sandbox.charge(f"{payment}:2", fate="decline:x")
    declined = await sandbox.refund(f"{payment}:r2", of=f"{payment}:2", amount=1)
    assert declined.body["decline_code"] == "charge_not_succeeded"
    assert await sandbox.moved(payment) == []


async def test_a_refund_belongs_to_its_charges_payment_and_currency(sandbox: Sandbox) -> None:
    payment = await charged(sandbox)
    body = order(f"{payment}:1") | {"charge_reference": f"{payment}:1", "amount": 1}
    for number, (change, code) in enumerate(
        (({"payment_id": "other"}, "charge_not_found"), ({"currency": "USD"}, "currency_mismatch"))
    ):
        sent = body | change | {"reference": f"{payment}:r{number}"}
        answer = await sandbox.call("POST", "/v1/refunds", body=sent)
        assert answer.body["decline_code"] == code
    assert await sandbox.moved(payment) == CHARGED


async def test_a_refund_must_name_its_charge(sandbox: Sandbox) -> None:
    payment = await charged(sandbox)
    answer = await sandbox.call("POST", "/v1/refunds", body=order(f"{payment}:1"))
    assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_request")

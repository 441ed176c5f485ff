"""Refunds: never more than was taken, once per reference."""

import asyncio

from sandbox_harness import Sandbox, eventually, fresh, order

CHARGED = [("charge", 1_000)]


async def charged(provider: Sandbox, *, fate: str = "") -> str:
    payment = fresh()
    await provider.charge(f"{payment}:1", fate=fate)
    return payment


async def test_a_refund_gives_money_back_and_says_so(provider: Sandbox) -> None:
    payment = await charged(provider)
    answer = await provider.refund(f"{payment}:r1", of=f"{payment}:1", amount=400)
    body = answer.body
    assert (answer.status, body["status"], body["amount"], body["fee"]) == (200, "succeeded", 400, 0)
    assert (body["charge_reference"], body["payment_id"]) == (f"{payment}:1", payment)
    assert (await provider.call("GET", f"/v1/refunds/{payment}:r1")).body == body
    assert await provider.moved(payment) == [*CHARGED, ("refund", 400)]


async def test_an_unknown_refund_is_not_found(provider: Sandbox) -> None:
    payment = await charged(provider)
    assert (await provider.call("GET", f"/v1/refunds/{payment}:1")).status == 404  # a charge's reference


async def test_a_refund_may_have_the_reference_of_its_charge(provider: Sandbox) -> None:
    payment = await charged(provider)
    answer = await provider.refund(f"{payment}:1", of=f"{payment}:1", amount=400)
    assert answer.body["status"] == "succeeded"


async def test_the_same_reference_gives_back_once(provider: Sandbox) -> None:
    payment = await charged(provider)
    calls = (provider.refund(f"{payment}:r1", of=f"{payment}:1", amount=400) for _ in range(50))
    answers = await asyncio.gather(*calls)
    assert len({answer.body["provider_reference"] for answer in answers}) == 1
    assert await provider.moved(payment) == [*CHARGED, ("refund", 400)]
    other = await provider.refund(f"{payment}:r1", of=f"{payment}:1", amount=401)
    assert (other.status, other.body["error"]["code"]) == (409, "idempotency_mismatch")


async def test_fifty_refunds_of_30_percent_give_exactly_three(provider: Sandbox) -> None:
    payment = await charged(provider)
    calls = (provider.refund(f"{payment}:r{number}", of=f"{payment}:1", amount=300) for number in range(50))
    answers = await asyncio.gather(*calls)
    declined = [answer.body for answer in answers if answer.body["status"] == "declined"]
    assert len(declined) == 47
    assert {body["decline_code"] for body in declined} == {"exceeds_captured"}
    assert await provider.moved(payment) == [*CHARGED, *[("refund", 300)] * 3]


async def test_exactly_what_was_taken_can_be_given_back(provider: Sandbox) -> None:
    payment = await charged(provider, fate="partial:700")
    too_much = await provider.refund(f"{payment}:r1", of=f"{payment}:1", amount=701)
    assert too_much.body["decline_code"] == "exceeds_captured"
    assert (await provider.refund(f"{payment}:r2", of=f"{payment}:1", amount=700)).body["status"] == "succeeded"
    assert (await provider.refund(f"{payment}:r3", of=f"{payment}:1", amount=1)).body["status"] == "declined"


async def test_a_pending_refund_has_spoken_for_its_money(provider: Sandbox) -> None:
    payment = await charged(provider)
    pending = await provider.refund(f"{payment}:r1", of=f"{payment}:1", amount=800, fate="pending:100")
    assert pending.body["status"] == "pending"
    second = await provider.refund(f"{payment}:r2", of=f"{payment}:1", amount=300)
    assert second.body["decline_code"] == "exceeds_captured"
    await eventually(lambda: provider.moved(payment), until=lambda moved: moved == [*CHARGED, ("refund", 800)])


async def test_a_declined_refund_lets_go_of_its_money(provider: Sandbox) -> None:
    payment = await charged(provider)
    await provider.refund(f"{payment}:r1", of=f"{payment}:1", amount=1_000, fate="decline:x")
    again = await provider.refund(f"{payment}:r2", of=f"{payment}:1", amount=1_000)
    assert again.body["status"] == "succeeded"


async def test_what_was_never_charged_cannot_be_refunded(provider: Sandbox) -> None:
    payment = fresh()
    unknown = await provider.refund(f"{payment}:r1", of=f"{payment}:1", amount=1)
    assert unknown.body["decline_code"] == "charge_not_found"
    await provider.charge(f"{payment}:2", fate="decline:x")
    declined = await provider.refund(f"{payment}:r2", of=f"{payment}:2", amount=1)
    assert declined.body["decline_code"] == "charge_not_succeeded"
    assert await provider.moved(payment) == []


async def test_a_refund_belongs_to_its_charges_payment_and_currency(provider: Sandbox) -> None:
    payment = await charged(provider)
    body = order(f"{payment}:1") | {"charge_reference": f"{payment}:1", "amount": 1}
    for number, (change, code) in enumerate(
        (({"payment_id": "other"}, "charge_not_found"), ({"currency": "USD"}, "currency_mismatch"))
    ):
        sent = body | change | {"reference": f"{payment}:r{number}"}
        answer = await provider.call("POST", "/v1/refunds", body=sent)
        assert answer.body["decline_code"] == code
    assert await provider.moved(payment) == CHARGED


async def test_a_refund_must_name_its_charge(provider: Sandbox) -> None:
    payment = await charged(provider)
    answer = await provider.call("POST", "/v1/refunds", body=order(f"{payment}:1"))
    assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_request")

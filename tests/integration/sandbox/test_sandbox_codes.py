"""QR codes: shown, paid, expired, cancelled."""

import asyncio

import pytest
from sandbox_harness import Answer, Sandbox, eventually, fresh


async def pay(provider: Sandbox, reference: str) -> Answer:
    return await provider.call("POST", f"/v1/codes/{reference}/pay", headers={"Authorization": ""})


async def test_a_code_waits_until_its_customer_pays(provider: Sandbox) -> None:
    payment = fresh()
    made = await provider.code(f"{payment}:1")
    assert (made.status, made.body["status"], made.body["amount"]) == (200, "waiting", 1_000)
    assert made.body["qr_content"]
    assert made.body["expires_at"].endswith("Z")
    assert (await provider.ask(f"{payment}:1")).body == made.body
    assert await provider.moved(payment) == []
    paid = await pay(provider, f"{payment}:1")
    assert (paid.status, paid.body["status"], paid.body["fee"]) == (200, "succeeded", 32)
    assert await provider.moved(payment) == [("charge", 1_000)]
    assert (await provider.ask(f"{payment}:1")).body == paid.body


async def test_paying_twice_is_paying_once(provider: Sandbox) -> None:
    payment = fresh()
    await provider.code(f"{payment}:1")
    answers = await asyncio.gather(*(pay(provider, f"{payment}:1") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert await provider.moved(payment) == [("charge", 1_000)]


async def test_making_a_code_twice_shows_the_same_code(provider: Sandbox) -> None:
    reference = f"{fresh()}:1"
    first = await provider.code(reference)
    assert (await provider.code(reference)).body == first.body
    assert (await provider.code(reference, expires_in=301)).status == 409


async def test_a_code_expires_by_itself(provider: Sandbox) -> None:
    payment = fresh()
    await provider.code(f"{payment}:1", expires_in=1)
    expired = await eventually(lambda: provider.ask(f"{payment}:1"), until=lambda a: a.body["status"] != "waiting")
    assert expired.body["status"] == "expired"
    late = await pay(provider, f"{payment}:1")
    assert (late.status, late.body["error"]["code"]) == (409, "code_expired")
    assert await provider.moved(payment) == []


async def test_a_cancelled_code_cannot_be_paid(provider: Sandbox) -> None:
    payment = fresh()
    await provider.code(f"{payment}:1")
    await provider.call("POST", f"/v1/charges/{payment}:1/cancel")
    late = await pay(provider, f"{payment}:1")
    assert (late.status, late.body["error"]["code"]) == (409, "code_cancelled")
    assert await provider.moved(payment) == []


@pytest.mark.parametrize(
    ("fate", "status", "moved"),
    [
        ("decline:insufficient_funds", "declined", []),
        ("partial:250", "succeeded", [("charge", 250)]),
        ("pending:60000", "pending", []),
    ],
)
async def test_the_outcome_is_decided_when_the_customer_pays(
    provider: Sandbox, fate: str, *, status: str, moved: list[tuple[str, int]]
) -> None:
    payment = fresh()
    made = await provider.code(f"{payment}:1", fate=fate)
    assert (made.body["status"], made.body["amount"]) == ("waiting", 1_000)
    assert (await pay(provider, f"{payment}:1")).body["status"] == status
    assert await provider.moved(payment) == moved


async def test_a_code_paid_pending_succeeds_later(provider: Sandbox) -> None:
    payment = fresh()
    await provider.code(f"{payment}:1", fate="pending:50")
    assert (await pay(provider, f"{payment}:1")).body["status"] == "pending"
    await eventually(lambda: provider.moved(payment), until=lambda moved: moved == [("charge", 1_000)])


async def test_forgetting_idempotency_never_pays_a_code(provider: Sandbox) -> None:
    payment = fresh()
    await provider.code(f"{payment}:1", fate="ignore_idempotency")
    await pay(provider, f"{payment}:1")
    await provider.code(f"{payment}:1", fate="ignore_idempotency")
    assert await provider.moved(payment) == [("charge", 1_000)]


async def test_a_fault_strikes_the_making_of_the_code(provider: Sandbox) -> None:
    reference = f"{fresh()}:1"
    with pytest.raises(TimeoutError):
        await provider.code(reference, fate="timeout_after_charge", timeout=0.3)
    assert (await provider.ask(reference)).body["status"] == "waiting"
    assert (await pay(provider, reference)).body["status"] == "succeeded"


async def test_only_codes_can_be_paid(provider: Sandbox) -> None:
    reference = f"{fresh()}:1"
    assert (await pay(provider, reference)).status == 404
    await provider.charge(reference)
    assert (await pay(provider, reference)).status == 404


@pytest.mark.parametrize("expires_in", [0, -1, 86_401])
async def test_a_code_must_expire_within_a_day(provider: Sandbox, expires_in: int) -> None:
    assert (await provider.code(f"{fresh()}:1", expires_in=expires_in)).status == 400

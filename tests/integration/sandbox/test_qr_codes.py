"""QR codes are created, paid, expired and cancelled."""

import asyncio

import pytest

from tests.integration.sandbox.harness import HOUR_MS, Answer, Sandbox, new_payment_id
from tests.polling import eventually


async def pay(sandbox: Sandbox, reference: str) -> Answer:
    return await sandbox.call("POST", f"/v1/codes/{reference}/pay")


async def test_a_code_waits_until_its_customer_pays(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    made = await sandbox.code(f"{payment}:1")
    assert (made.status, made.body["status"], made.body["amount"]) == (200, "waiting", 1_000)
    assert made.body["qr_content"]
    assert made.body["expires_at"].endswith("Z")
    assert (await sandbox.ask(f"{payment}:1")).body == made.body
    assert await sandbox.moved(payment) == []
    paid = await pay(sandbox, f"{payment}:1")
    assert (paid.status, paid.body["status"], paid.body["fee"]) == (200, "succeeded", 32)
    assert await sandbox.moved(payment) == [("charge", 1_000)]
    assert (await sandbox.ask(f"{payment}:1")).body == paid.body


async def test_paying_a_qr_code_twice_charges_once(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.code(f"{payment}:1")
    answers = await asyncio.gather(*(pay(sandbox, f"{payment}:1") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert await sandbox.moved(payment) == [("charge", 1_000)]


async def test_creating_a_code_twice_returns_the_same_code(sandbox: Sandbox) -> None:
    reference = f"{new_payment_id()}:1"
    first = await sandbox.code(reference)
    assert (await sandbox.code(reference)).body == first.body
    assert (await sandbox.code(reference, expires_in=301)).status == 409


async def test_a_qr_code_expires_without_an_inquiry(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.code(f"{payment}:1", expires_in=1)
    expired = await eventually(lambda: sandbox.ask(f"{payment}:1"), until=lambda a: a.body["status"] != "waiting")
    assert expired.body["status"] == "expired"
    late = await pay(sandbox, f"{payment}:1")
    assert (late.status, late.body["error"]["code"]) == (409, "code_expired")
    assert await sandbox.moved(payment) == []


async def test_a_cancelled_code_cannot_be_paid(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.code(f"{payment}:1")
    await sandbox.call("POST", f"/v1/charges/{payment}:1/cancel")
    late = await pay(sandbox, f"{payment}:1")
    assert (late.status, late.body["error"]["code"]) == (409, "code_cancelled")
    assert await sandbox.moved(payment) == []


@pytest.mark.parametrize(
    ("fate", "status", "moved"),
    [
        ("decline:insufficient_funds", "declined", []),
        ("partial:250", "succeeded", [("charge", 250)]),
        ("pending:60000", "pending", []),
    ],
)
async def test_the_outcome_is_decided_when_the_customer_pays(
    sandbox: Sandbox, fate: str, *, status: str, moved: list[tuple[str, int]]
) -> None:
    payment = new_payment_id()
    made = await sandbox.code(f"{payment}:1", fate=fate)
    assert (made.body["status"], made.body["amount"]) == ("waiting", 1_000)
    assert (await pay(sandbox, f"{payment}:1")).body["status"] == status
    assert await sandbox.moved(payment) == moved


async def test_a_code_paid_pending_succeeds_later(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.code(f"{payment}:1", fate=f"pending:{HOUR_MS}")
    assert (await pay(sandbox, f"{payment}:1")).body["status"] == "pending"
    await sandbox.advance_clock()
    await eventually(lambda: sandbox.moved(payment), until=lambda moved: moved == [("charge", 1_000)])


async def test_ignoring_idempotency_never_pays_a_code(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.code(f"{payment}:1", fate="ignore_idempotency")
    await pay(sandbox, f"{payment}:1")
    await sandbox.code(f"{payment}:1", fate="ignore_idempotency")
    assert await sandbox.moved(payment) == [("charge", 1_000)]


async def test_a_fault_applies_when_a_code_is_created(sandbox: Sandbox) -> None:
    reference = f"{new_payment_id()}:1"
    made = sandbox.code(reference, fate="timeout_after_charge")
    await sandbox.hang_up_once(made, lambda: sandbox.ask(reference), done=lambda answer: answer.status == 200)
    assert (await sandbox.ask(reference)).body["status"] == "waiting"
    assert (await pay(sandbox, reference)).body["status"] == "succeeded"


async def test_only_codes_can_be_paid(sandbox: Sandbox) -> None:
    reference = f"{new_payment_id()}:1"
    assert (await pay(sandbox, reference)).status == 404
    await sandbox.charge(reference)
    assert (await pay(sandbox, reference)).status == 404


@pytest.mark.parametrize("expires_in", [0, -1, 86_401])
async def test_a_code_must_expire_within_a_day(sandbox: Sandbox, expires_in: int) -> None:
    assert (await sandbox.code(f"{new_payment_id()}:1", expires_in=expires_in)).status == 400

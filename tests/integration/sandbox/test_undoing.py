"""After a cancel or reversal the customer has paid nothing, or the answer says that the customer has paid."""

import asyncio

import pytest

from tests.integration.sandbox.harness import HOUR_MS, Answer, Sandbox, new_payment_id
from tests.polling import eventually

CHARGED = [("charge", 1_000)]
UNDONE = [("charge", 1_000), ("reversal", 1_000)]
VERBS = ["cancel", "reverse"]


async def undo(sandbox: Sandbox, verb: str, reference: str) -> Answer:
    return await sandbox.call("POST", f"/v1/charges/{reference}/{verb}")


@pytest.mark.parametrize("verb", VERBS)
async def test_an_unknown_reference_is_remembered_as_cancelled(sandbox: Sandbox, verb: str) -> None:
    payment = new_payment_id()
    cancelled = await undo(sandbox, verb, f"{payment}:1")
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")
    assert (await sandbox.ask(f"{payment}:1")).body["status"] == "cancelled"
    late = await sandbox.charge(f"{payment}:1")
    assert (late.status, late.body["status"], late.body["decline_code"]) == (200, "declined", "cancelled")
    assert await sandbox.moved(payment) == []


@pytest.mark.parametrize("verb", VERBS)
async def test_a_cancelled_pending_charge_stays_cancelled(sandbox: Sandbox, verb: str) -> None:
    payment, witness = new_payment_id(), new_payment_id()
    for pending in (payment, witness):  # in this order, so that a wrong outcome would happen first
        await sandbox.charge(f"{pending}:1", fate=f"pending:{HOUR_MS}")
    assert (await undo(sandbox, verb, f"{payment}:1")).body["status"] == "cancelled"
    await sandbox.advance_clock()
    await eventually(lambda: sandbox.moved(witness), until=lambda moved: moved == CHARGED)
    assert (await sandbox.ask(f"{payment}:1")).body["status"] == "cancelled"
    assert await sandbox.moved(payment) == []


@pytest.mark.parametrize("verb", VERBS)
async def test_a_waiting_code_is_cancelled(sandbox: Sandbox, verb: str) -> None:
    payment = new_payment_id()
    await sandbox.code(f"{payment}:1")
    assert (await undo(sandbox, verb, f"{payment}:1")).body["status"] == "cancelled"
    assert (await undo(sandbox, verb, f"{payment}:1")).status == 200


@pytest.mark.parametrize("verb", VERBS)
async def test_a_declined_charge_is_cancelled_too(sandbox: Sandbox, verb: str) -> None:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1", fate="decline:x")
    assert (await undo(sandbox, verb, f"{payment}:1")).body["status"] == "cancelled"
    assert await sandbox.moved(payment) == []


async def test_cancelling_a_successful_charge_is_refused_as_too_late(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    charged = await sandbox.charge(f"{payment}:1")
    late = await undo(sandbox, "cancel", f"{payment}:1")
    assert (late.status, late.body) == (409, charged.body)
    assert await sandbox.moved(payment) == CHARGED


async def test_a_reversal_returns_amount_and_fee_once(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1")
    answers = [await undo(sandbox, "reverse", f"{payment}:1") for _ in range(3)]
    assert [(answer.status, answer.body["status"], answer.body["fee"]) for answer in answers] == [
        (200, "reversed", 0)
    ] * 3
    assert await sandbox.moved(payment) == UNDONE
    rows = (await sandbox.call("GET", f"/control/ledger/{payment}")).body["data"]
    assert [(row["fee"], row["reference"]) for row in rows] == [(32, f"{payment}:1"), (-32, f"{payment}:1")]
    assert (await sandbox.ask(f"{payment}:1")).body["status"] == "reversed"
    assert (await undo(sandbox, "cancel", f"{payment}:1")).status == 200


async def test_a_reversal_undoes_what_was_charged_twice(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    for _ in range(2):
        await sandbox.charge(f"{payment}:1", fate="ignore_idempotency")
    await sandbox.charge(f"{payment}:2")
    await undo(sandbox, "reverse", f"{payment}:1")
    assert sorted(await sandbox.moved(payment)) == CHARGED * 3 + [("reversal", 1_000)] * 2


async def test_a_partly_refunded_charge_cannot_be_reversed(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1")
    await sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=1)
    answer = await undo(sandbox, "reverse", f"{payment}:1")
    assert (answer.status, answer.body["error"]["code"]) == (409, "refunded")
    assert await sandbox.moved(payment) == [*CHARGED, ("refund", 1)]


async def test_cancel_and_reverse_ignore_a_lying_inquiry(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.hang_up_once_moved(sandbox.charge(f"{payment}:1", fate=f"not_found_lie:{HOUR_MS}"), payment)
    assert (await undo(sandbox, "cancel", f"{payment}:1")).status == 409
    assert (await undo(sandbox, "reverse", f"{payment}:1")).body["status"] == "reversed"
    assert await sandbox.moved(payment) == UNDONE


async def test_a_concurrent_charge_and_cancel_have_one_outcome(sandbox: Sandbox) -> None:
    async def charge_and_cancel() -> None:
        payment = new_payment_id()
        charged, cancelled = await asyncio.gather(
            sandbox.charge(f"{payment}:1"), undo(sandbox, "cancel", f"{payment}:1")
        )
        won = charged.body["status"] == "succeeded"
        assert cancelled.status == (409 if won else 200)
        assert await sandbox.moved(payment) == (CHARGED if won else [])

    await asyncio.gather(*(charge_and_cancel() for _ in range(100)))

"""Cancel and reverse: afterwards the customer has paid nothing, or we are told that he has."""

import asyncio

import pytest
from sandbox_harness import Answer, Sandbox, fresh

CHARGED = [("charge", 1_000)]
UNDONE = [("charge", 1_000), ("reversal", 1_000)]
VERBS = ["cancel", "reverse"]


async def undo(provider: Sandbox, verb: str, reference: str) -> Answer:
    return await provider.call("POST", f"/v1/charges/{reference}/{verb}")


@pytest.mark.parametrize("verb", VERBS)
async def test_an_unknown_reference_is_remembered_as_cancelled(provider: Sandbox, verb: str) -> None:
    payment = fresh()
    cancelled = await undo(provider, verb, f"{payment}:1")
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")
    assert (await provider.ask(f"{payment}:1")).body["status"] == "cancelled"
    late = await provider.charge(f"{payment}:1")
    assert (late.status, late.body["status"], late.body["decline_code"]) == (200, "declined", "cancelled")
    assert await provider.moved(payment) == []


@pytest.mark.parametrize("verb", VERBS)
async def test_a_pending_charge_is_cancelled_for_good(provider: Sandbox, verb: str) -> None:
    payment = fresh()
    await provider.charge(f"{payment}:1", fate="pending:80")
    assert (await undo(provider, verb, f"{payment}:1")).body["status"] == "cancelled"
    await asyncio.sleep(0.15)  # nothing to wait for: what must not happen would have happened after 80 ms
    assert (await provider.ask(f"{payment}:1")).body["status"] == "cancelled"
    assert await provider.moved(payment) == []


@pytest.mark.parametrize("verb", VERBS)
async def test_a_waiting_code_is_cancelled(provider: Sandbox, verb: str) -> None:
    payment = fresh()
    await provider.code(f"{payment}:1")
    assert (await undo(provider, verb, f"{payment}:1")).body["status"] == "cancelled"
    assert (await undo(provider, verb, f"{payment}:1")).status == 200


@pytest.mark.parametrize("verb", VERBS)
async def test_a_declined_charge_is_cancelled_too(provider: Sandbox, verb: str) -> None:
    payment = fresh()
    await provider.charge(f"{payment}:1", fate="decline:x")
    assert (await undo(provider, verb, f"{payment}:1")).body["status"] == "cancelled"
    assert await provider.moved(payment) == []


async def test_it_is_too_late_to_cancel_what_succeeded(provider: Sandbox) -> None:
    payment = fresh()
    charged = await provider.charge(f"{payment}:1")
    late = await undo(provider, "cancel", f"{payment}:1")
    assert (late.status, late.body) == (409, charged.body)
    assert await provider.moved(payment) == CHARGED


async def test_a_reversal_gives_back_amount_and_fee_once(provider: Sandbox) -> None:
    payment = fresh()
    await provider.charge(f"{payment}:1")
    answers = [await undo(provider, "reverse", f"{payment}:1") for _ in range(3)]
    assert [(answer.status, answer.body["status"], answer.body["fee"]) for answer in answers] == [
        (200, "reversed", 0)
    ] * 3
    assert await provider.moved(payment) == UNDONE
    rows = (await provider.call("GET", f"/control/ledger/{payment}")).body["data"]
    assert [(row["fee"], row["reference"]) for row in rows] == [(32, f"{payment}:1"), (-32, f"{payment}:1")]
    assert (await provider.ask(f"{payment}:1")).body["status"] == "reversed"
    assert (await undo(provider, "cancel", f"{payment}:1")).status == 200


async def test_a_reversal_undoes_what_was_charged_twice(provider: Sandbox) -> None:
    payment = fresh()
    for _ in range(2):
        await provider.charge(f"{payment}:1", fate="ignore_idempotency")
    await provider.charge(f"{payment}:2")
    await undo(provider, "reverse", f"{payment}:1")
    assert sorted(await provider.moved(payment)) == CHARGED * 3 + [("reversal", 1_000)] * 2


async def test_what_was_partly_refunded_cannot_be_reversed(provider: Sandbox) -> None:
    payment = fresh()
    await provider.charge(f"{payment}:1")
    await provider.refund(f"{payment}:r1", of=f"{payment}:1", amount=1)
    answer = await undo(provider, "reverse", f"{payment}:1")
    assert (answer.status, answer.body["error"]["code"]) == (409, "refunded")
    assert await provider.moved(payment) == [*CHARGED, ("refund", 1)]


async def test_undoing_sees_through_a_lying_inquiry(provider: Sandbox) -> None:
    payment = fresh()
    with pytest.raises(TimeoutError):
        await provider.charge(f"{payment}:1", fate="not_found_lie:60000", timeout=0.3)
    assert (await undo(provider, "cancel", f"{payment}:1")).status == 409
    assert (await undo(provider, "reverse", f"{payment}:1")).body["status"] == "reversed"
    assert await provider.moved(payment) == UNDONE


async def test_charge_and_cancel_at_once_have_one_outcome(provider: Sandbox) -> None:
    async def race() -> None:
        payment = fresh()
        charged, cancelled = await asyncio.gather(
            provider.charge(f"{payment}:1"), undo(provider, "cancel", f"{payment}:1")
        )
        won = charged.body["status"] == "succeeded"
        assert cancelled.status == (409 if won else 200)
        assert await provider.moved(payment) == (CHARGED if won else [])

    await asyncio.gather(*(race() for _ in range(100)))

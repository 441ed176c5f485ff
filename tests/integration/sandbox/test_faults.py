"""Test every fault as a client sees it, and what the ledger says about the money."""

import asyncio
import time
from collections.abc import Awaitable

import aiohttp
import orjson
import pytest

from tests.integration.sandbox.harness import HOUR_MS, Sandbox, new_payment_id
from tests.polling import eventually

GENEROUS_SECONDS = 0.3  # timeout of a client that never gets an answer
BROKEN = (aiohttp.ClientError, ValueError)  # ValueError: a 200 whose body is not JSON
CHARGED = [("charge", 1_000)]
SILENT = ["timeout_after_charge", "not_found_lie:1"]
LOST = ["error_500_after_charge", "reset_after_charge", "garbage_after_charge"]


async def is_lost(call: Awaitable[object]) -> bool:
    """Return whether a call brought no usable answer: an error, or a 500."""
    try:
        answer = await call
    except BROKEN:
        return True
    return getattr(answer, "status", 0) == 500


@pytest.mark.parametrize("fate", SILENT + LOST)
async def test_after_charge_loses_the_answer_and_not_the_money(sandbox: Sandbox, fate: str) -> None:
    payment = new_payment_id()
    charge = sandbox.charge(f"{payment}:1", fate=fate)
    if fate in SILENT:
        await sandbox.hang_up_once_moved(charge, payment)
    else:
        assert await is_lost(charge)
    assert await sandbox.moved(payment) == CHARGED
    again = await sandbox.charge(f"{payment}:1", fate=fate)
    assert (again.status, again.body["status"]) == (200, "succeeded")
    assert await sandbox.moved(payment) == CHARGED


async def test_an_error_before_the_charge_moves_nothing_until_it_is_sent_again(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    assert await is_lost(sandbox.charge(f"{payment}:1", fate="error_500_before_charge"))
    await check_unmoved_until_repeated(sandbox, payment, fate="error_500_before_charge")


async def test_a_timeout_before_the_charge_moves_nothing_until_it_is_sent_again(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    fate = f"timeout_before_charge+inquiry_unavailable:{HOUR_MS}"  # an inquiry's 503 shows that the call has arrived
    charge = sandbox.charge(f"{payment}:1", fate=fate)
    await sandbox.hang_up_once(charge, lambda: sandbox.ask(f"{payment}:1"), done=lambda answer: answer.status == 503)
    await sandbox.advance_clock()
    await check_unmoved_until_repeated(sandbox, payment, fate=fate)


async def check_unmoved_until_repeated(sandbox: Sandbox, payment: str, *, fate: str) -> None:
    """Assert that the charge of ``payment`` has moved no money, and that repeating the call charges once."""
    assert await sandbox.moved(payment) == []
    assert (await sandbox.ask(f"{payment}:1")).status == 404
    again = await sandbox.charge(f"{payment}:1", fate=fate)
    assert (again.status, again.body["status"]) == (200, "succeeded")
    assert await sandbox.moved(payment) == CHARGED


async def test_each_fault_has_its_response(sandbox: Sandbox) -> None:
    for fate in ("timeout_after_charge", "timeout_before_charge"):
        with pytest.raises(TimeoutError):
            await sandbox.charge(f"{new_payment_id()}:1", fate=fate, timeout=GENEROUS_SECONDS)
    with pytest.raises(aiohttp.ClientOSError):  # a reset; an orderly close would raise ServerDisconnectedError
        await sandbox.charge(f"{new_payment_id()}:1", fate="reset_after_charge")
    with pytest.raises(orjson.JSONDecodeError):
        await sandbox.charge(f"{new_payment_id()}:1", fate="garbage_after_charge")
    for fate in ("error_500_after_charge", "error_500_before_charge"):
        answer = await sandbox.charge(f"{new_payment_id()}:1", fate=fate)
        assert (answer.status, answer.body["error"]["code"]) == (500, "internal_error")


@pytest.mark.parametrize(("word", "status"), [("unavailable", 503), ("rate_limited", 429)])
async def test_a_refusal_is_counted_per_payment_and_does_nothing(sandbox: Sandbox, word: str, status: int) -> None:
    payment = new_payment_id()
    for attempt in (1, 2):
        refused = await sandbox.charge(f"{payment}:{attempt}", fate=f"{word}:2")
        assert (refused.status, refused.body["error"]["code"]) == (status, word)
        assert refused.headers.get("Retry-After") == ("1" if word == "rate_limited" else None)
        assert (await sandbox.ask(f"{payment}:{attempt}")).status == 404
    assert await sandbox.moved(payment) == []
    assert (await sandbox.charge(f"{payment}:3", fate=f"{word}:2")).body["status"] == "succeeded"
    assert await sandbox.moved(payment) == CHARGED


async def test_a_slow_answer_takes_its_time(sandbox: Sandbox) -> None:
    started = time.monotonic()
    assert (await sandbox.charge(f"{new_payment_id()}:1", fate="slow:300")).body["status"] == "succeeded"
    assert time.monotonic() - started >= 0.27  # ten pauses, with a resolution of milliseconds


async def test_a_slow_fate_charges_at_once_and_is_unaffected_by_a_disconnected_caller(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.hang_up_once_moved(sandbox.charge(f"{payment}:1", fate="slow:10000"), payment)
    assert await sandbox.moved(payment) == CHARGED


async def test_a_pending_charge_succeeds_without_an_inquiry(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    answer = await sandbox.charge(f"{payment}:1", fate=f"pending:{HOUR_MS}")
    assert (answer.status, answer.body["status"], answer.body["fee"]) == (200, "pending", 0)
    assert "approval_code" not in answer.body
    assert await sandbox.moved(payment) == []
    assert (await sandbox.ask(f"{payment}:1")).body["status"] == "pending"
    await sandbox.advance_clock()
    await eventually(lambda: sandbox.moved(payment), until=lambda moved: moved == CHARGED)  # without an inquiry
    asked = await sandbox.ask(f"{payment}:1")
    assert (asked.body["status"], asked.body["fee"]) == ("succeeded", 32)


async def test_pending_may_end_in_a_decline(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    answer = await sandbox.charge(f"{payment}:1", fate=f"pending:{HOUR_MS}+decline:expired_card")
    assert answer.body["status"] == "pending"
    assert "decline_code" not in answer.body
    await sandbox.advance_clock()
    settled = await eventually(lambda: sandbox.ask(f"{payment}:1"), until=lambda a: a.body["status"] != "pending")
    assert (settled.body["status"], settled.body["decline_code"]) == ("declined", "expired_card")
    assert await sandbox.moved(payment) == []


async def test_a_lying_inquiry_returns_the_real_status_after_its_time(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    await sandbox.hang_up_once_moved(sandbox.charge(f"{payment}:1", fate=f"not_found_lie:{HOUR_MS}"), payment)
    assert (await sandbox.ask(f"{payment}:1")).status == 404
    await sandbox.advance_clock()
    truth = await sandbox.ask(f"{payment}:1")
    assert (truth.status, truth.body["status"]) == (200, "succeeded")


async def test_an_unavailable_inquiry_answers_503_for_its_time(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    charged = await sandbox.charge(f"{payment}:1", fate=f"inquiry_unavailable:{HOUR_MS}")
    assert charged.status == 200
    away = await sandbox.ask(f"{payment}:1")
    assert (away.status, away.body["error"]["code"]) == (503, "unavailable")
    await sandbox.advance_clock()
    assert (await sandbox.ask(f"{payment}:1")).body == charged.body


async def test_an_inquiry_can_be_unavailable_for_a_charge_that_was_never_made(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    fate = f"error_500_before_charge+inquiry_unavailable:{HOUR_MS}"
    assert await is_lost(sandbox.charge(f"{payment}:1", fate=fate))
    assert (await sandbox.ask(f"{payment}:1")).status == 503


async def test_a_provider_that_ignores_idempotency_charges_a_reference_again(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    first = await sandbox.charge(f"{payment}:1", fate="ignore_idempotency")
    second = await sandbox.charge(f"{payment}:1", fate="ignore_idempotency")
    assert first.body["provider_reference"] != second.body["provider_reference"]
    assert await sandbox.moved(payment) == CHARGED * 2


async def test_three_faults_are_combined(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    fate = f"timeout_after_charge+not_found_lie:{HOUR_MS}+ignore_idempotency"
    await sandbox.hang_up_once_moved(sandbox.charge(f"{payment}:1", fate=fate), payment)
    assert (await sandbox.ask(f"{payment}:1")).status == 404
    assert (await sandbox.charge(f"{payment}:1", fate=fate)).status == 200
    assert await sandbox.moved(payment) == CHARGED * 2


async def test_a_refusal_comes_before_the_fault(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    fate = "unavailable:1+error_500_after_charge"
    statuses = [(await sandbox.charge(f"{payment}:1", fate=fate)).status for _ in range(3)]
    assert statuses == [503, 500, 200]
    assert await sandbox.moved(payment) == CHARGED


async def test_a_fault_applies_to_one_of_many_concurrent_calls(sandbox: Sandbox) -> None:
    payment = new_payment_id()
    calls = (sandbox.charge(f"{payment}:1", fate="error_500_after_charge") for _ in range(20))
    statuses = sorted(answer.status for answer in await asyncio.gather(*calls))
    assert statuses == [200] * 19 + [500]
    assert await sandbox.moved(payment) == CHARGED


REFUND_FATES: dict[str, tuple[int, list[tuple[str, int]]]] = {
    "approve": (200, [("refund", 400)]),
    "decline:x": (200, []),
    "partial:100": (200, [("refund", 100)]),
    "error_500_before_charge": (500, []),
    "error_500_after_charge": (500, [("refund", 400)]),
    "unavailable:1": (503, []),
    "rate_limited:1": (429, []),
    "slow:20": (200, [("refund", 400)]),
    "inquiry_unavailable:5": (200, [("refund", 400)]),
}


@pytest.mark.parametrize("fate", REFUND_FATES)
async def test_a_fault_named_after_the_charge_applies_to_a_refund(sandbox: Sandbox, fate: str) -> None:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1")
    status, moved = REFUND_FATES[fate]
    answer = await sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=400, fate=fate)
    assert answer.status == status
    assert await sandbox.moved(payment) == CHARGED + moved


@pytest.mark.parametrize("fate", SILENT + LOST)
async def test_a_refund_can_be_lost_too(sandbox: Sandbox, fate: str) -> None:
    payment = new_payment_id()
    await sandbox.charge(f"{payment}:1")
    first, again = (sandbox.refund(f"{payment}:r1", of=f"{payment}:1", amount=400, fate=fate) for _ in range(2))
    if fate in SILENT:
        await sandbox.hang_up_once_moved(first, payment)
    else:
        assert await is_lost(first)
    assert (await again).status == 200
    assert await sandbox.moved(payment) == [*CHARGED, ("refund", 400)]

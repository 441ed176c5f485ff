"""While the outcome is unknown, the provider is asked by our reference, and the payment is neither charged nor ended."""

import asyncio
import time
from typing import Any

import pytest

from tests.factories import PaymentMaker, time_passes
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import Admin, evidence, seconds_until
from tests.polling import is_plausible_remainder
from workflows.payments.queries import payment_fields
from workflows.payments.states import PaymentStatus
from workflows.providers.base import (
    ActionRequired,
    Answer,
    Declined,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)
from workflows.refunds.workload import PAYMENTS

SOON = 3
DAY = 86_400


async def in_doubt(payments: PaymentMaker, provider: FakeProvider, *, moved: bool) -> str:
    """Create a payment in doubt, and return its id. ``moved`` says whether the provider moved the money."""
    provider.charges.append(Unknown("read time-out"))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    if moved:
        provider.moved[f"{payment_id}:1"] = 1_000
    return payment_id


async def process_next_inquiry(payments: PaymentMaker, admin: Admin, payment_id: str, *, after: float = 0) -> None:
    """Advance time to the next inquiry, at least by ``after`` seconds, and process the payment."""
    left = await seconds_until(admin, payment_id, "due_at")
    await time_passes(admin, payment_id, seconds=max(left, after) + 0.1)
    await payments.process(payment_id)


async def test_a_lost_answer_leaves_the_payment_processing_with_the_advice_not_to_charge_again(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    began = time.monotonic()
    payment_id = await in_doubt(payments, provider, moved=True)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["outcome_known"]) == ("processing", False)
    assert found.events == ["create", "claim", "doubt"]
    assert found.outcomes == ["unknown"]
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 1.6, 2.4, since=began)
    assert payment_fields(found.row)["advice"] == "do_not_charge_again"


async def test_charge_that_did_arrive_is_completed_by_the_first_inquiry(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=True)
    await process_next_inquiry(payments, admin, payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["outcome_known"], found.row["in_doubt_since"]) == ("completed", True, None)
    assert found.kinds == ["inquiry"]
    assert provider.calls == [("charge", f"{payment_id}:1"), ("inquire", f"{payment_id}:1")]


@pytest.mark.parametrize(
    ("answer", "status"),
    [(Declined("no_money"), "failed"), (Withdrawn(), "cancelled"), (Succeeded(1_000), "completed")],
)
async def test_a_certain_answer_ends_the_doubt(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, answer: Answer, status: str
) -> None:
    payment_id = await in_doubt(payments, provider, moved=False)
    provider.inquiries.append(answer)
    await process_next_inquiry(payments, admin, payment_id)
    assert (await evidence(admin, payment_id)).status == status


async def test_inquiries_follow_the_schedule_while_the_provider_does_not_answer(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=True)
    provider.inquiries.extend([Unavailable("503")] * 9)
    for delay in (5, 15, 30, 60, 120, 300, 900, 3_600):
        began = time.monotonic()
        await process_next_inquiry(payments, admin, payment_id)
        left = await seconds_until(admin, payment_id, "due_at")
        assert is_plausible_remainder(left, delay * 0.8, delay * 1.2, since=began), delay
    found = await evidence(admin, payment_id)
    assert (found.status, found.outcomes) == ("processing", ["unknown"])
    assert found.events == ["create", "claim", "doubt"]
    assert {kind for kind, _ in provider.calls} == {"charge", "inquire"}
    await process_next_inquiry(payments, admin, payment_id)
    await process_next_inquiry(payments, admin, payment_id)
    assert (await evidence(admin, payment_id)).status == "completed"
    assert [kind for kind, _ in provider.calls].count("charge") == 1


async def test_second_doubt_starts_the_schedule_again(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=False)
    provider.inquiries.extend([*[Unavailable("503")] * 5, Declined("processor_busy", is_retriable=True)])
    for _ in range(6):
        await process_next_inquiry(payments, admin, payment_id)
    assert (await evidence(admin, payment_id)).outcomes == ["declined"]
    provider.charges.append(Unknown("read time-out"))
    began = time.monotonic()
    await process_next_inquiry(payments, admin, payment_id)
    found = await evidence(admin, payment_id)
    assert (found.outcomes, found.row["outcome_known"]) == (["declined", "unknown"], False)
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 1.6, 2.4, since=began)


async def test_lost_answer_to_a_resend_starts_the_schedule_again(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await payments.pending(expires_in_seconds=900)
    provider.charges.append(Unknown("read time-out"))
    await payments.process(payment_id)
    provider.inquiries.extend([Unavailable("503")] * 5)
    for _ in range(6):
        await process_next_inquiry(payments, admin, payment_id)
    first = (await evidence(admin, payment_id)).row["in_doubt_since"]
    await process_next_inquiry(payments, admin, payment_id, after=61)
    provider.charges.append(Unknown("read time-out"))
    began = time.monotonic()
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.attempts[0]["resends"], found.outcomes) == (1, ["unknown"])
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 1.6, 2.4, since=began)
    assert found.row["in_doubt_since"] < first  # changed only by ``time_passes``: the first time of doubt remains
    provider.inquiries.append(Unavailable("503"))
    began = time.monotonic()
    await process_next_inquiry(payments, admin, payment_id)
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 4, 6, since=began)


async def test_a_worker_that_dies_during_a_resend_begins_the_schedule_again(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=False)
    await process_next_inquiry(payments, admin, payment_id)
    await process_next_inquiry(payments, admin, payment_id, after=61)
    await admin.execute("UPDATE payments SET inquiries = 7 WHERE id = %s", [payment_id])
    assert len(await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)) == 1
    await time_passes(admin, payment_id, seconds=31)
    provider.inquiries.append(Unavailable("503"))
    began = time.monotonic()
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).outcomes == ["unknown"]
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 1.6, 2.4, since=began)


async def test_a_lost_withdrawal_is_repeated_soon_however_old_the_doubt_is(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=False)
    await admin.execute("UPDATE payments SET inquiries = 8 WHERE id = %s", [payment_id])
    await payments.cancel(payment_id)
    provider.withdrawals.append(Unknown("read time-out"))
    began = time.monotonic()
    await payments.process(payment_id)
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 1.6, 2.4, since=began)


async def test_a_single_not_found_or_two_close_ones_prove_nothing(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=False)
    for _ in range(3):
        await process_next_inquiry(payments, admin, payment_id)
        found = await evidence(admin, payment_id)
        assert (found.status, found.outcomes) == ("processing", ["unknown"])
    assert [kind for kind, _ in provider.calls] == ["charge", "inquire", "inquire", "inquire"]


async def test_two_not_founds_as_far_apart_as_the_provider_works_send_the_same_reference_again(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=False)
    await process_next_inquiry(payments, admin, payment_id)
    await process_next_inquiry(payments, admin, payment_id, after=provider.max_processing_seconds)
    assert (await evidence(admin, payment_id)).outcomes == ["not_found"]
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.outcomes, found.attempts[0]["resends"]) == ("completed", ["succeeded"], 1)
    assert provider.calls == [(kind, f"{payment_id}:1") for kind in ("charge", "inquire", "inquire", "charge")]


async def test_answer_between_two_not_founds_restarts_the_proof(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=False)
    provider.inquiries.extend([NotFound(), ActionRequired(None), NotFound()])
    await process_next_inquiry(payments, admin, payment_id)
    await process_next_inquiry(payments, admin, payment_id, after=61)
    await process_next_inquiry(payments, admin, payment_id, after=61)
    assert (await evidence(admin, payment_id)).outcomes == ["unknown"]


async def test_provider_without_deduplication_never_gets_a_resend(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.deduplicates = False
    payment_id = await in_doubt(payments, provider, moved=False)
    for _ in range(4):  # the payment expires after 300 s
        await process_next_inquiry(payments, admin, payment_id, after=61)
    assert [kind for kind, _ in provider.calls].count("charge") == 1
    assert (await evidence(admin, payment_id)).status == "processing"


async def test_review_is_requested_once_after_a_day_while_the_payment_stays_processing(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=True)
    provider.inquiries.extend([Unavailable("503")] * 3)
    for _ in range(3):
        await process_next_inquiry(payments, admin, payment_id, after=DAY)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["needs_review"]) == ("processing", True)
    assert found.events == ["create", "claim", "doubt", "request_review"]
    await process_next_inquiry(payments, admin, payment_id)
    done = await evidence(admin, payment_id)
    assert (done.status, done.row["needs_review"]) == ("completed", False)


async def test_worker_that_dies_during_a_resend_leads_to_an_inquiry(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=False)
    await process_next_inquiry(payments, admin, payment_id)
    await process_next_inquiry(payments, admin, payment_id, after=61)
    provider.hold()
    provider.heard.clear()
    working = asyncio.ensure_future(payments.process(payment_id))
    await provider.heard.wait()
    assert (await evidence(admin, payment_id)).outcomes == [None]
    await time_passes(admin, payment_id, seconds=31)
    await payments.process(payment_id)
    assert provider.calls[-1] == ("inquire", f"{payment_id}:1")
    provider.release()
    await working


@pytest.mark.parametrize("moved", [True, False])
async def test_a_cancel_of_a_payment_in_doubt_asks_the_provider_to_withdraw_it(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin, moved: bool
) -> None:
    payment_id = await in_doubt(payments, provider, moved=moved)
    await payments.cancel(payment_id)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert found.kinds == ["withdrawal"]
    expected: tuple[Any, ...] = ("completed", "too_late") if moved else ("cancelled", "cancelled")
    assert (found.status, found.row["cancel_outcome"]) == expected


async def test_cancel_during_an_inquiry_is_processed_after_it(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await in_doubt(payments, provider, moved=False)
    provider.inquiries.append(Unavailable("503"))
    await time_passes(admin, payment_id, seconds=SOON)
    provider.hold_inquiries()
    working = asyncio.ensure_future(payments.process(payment_id))
    await provider.asked.wait()
    await payments.cancel(payment_id)
    provider.release()
    await working
    assert await seconds_until(admin, payment_id, "due_at") <= 0
    await payments.process(payment_id)
    assert (await evidence(admin, payment_id)).status == PaymentStatus.CANCELLED


async def test_review_is_requested_for_a_payment_that_its_provider_accepted_and_never_decides(
    payments: PaymentMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.charges.append(ActionRequired(None))
    payment_id = await payments.pending()
    await payments.process(payment_id)
    provider.withdrawals.extend([ActionRequired(None)] * 3)
    await process_next_inquiry(payments, admin, payment_id, after=301)
    assert not (await evidence(admin, payment_id)).row["needs_review"]
    await process_next_inquiry(payments, admin, payment_id, after=601)
    await process_next_inquiry(payments, admin, payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["needs_review"], found.row["outcome_known"]) == ("processing", True, True)
    assert found.events == ["create", "claim", "ask_customer", "request_review"]
    provider.withdrawals.append(Withdrawn())
    await process_next_inquiry(payments, admin, payment_id)
    done = await evidence(admin, payment_id)
    assert (done.status, done.row["needs_review"]) == ("cancelled", False)

"""While the outcome of a refund is unknown, its amount stays reserved; only a certain answer ends that."""

import time

import pytest

from tests.fakes import FakeProvider
from tests.integration.refunds.refund_helpers import (
    Admin,
    RefundMaker,
    evidence,
    process_when_due,
    seconds_until_due,
    sums,
)
from tests.polling import is_plausible_remainder
from workflows.providers.base import (
    Answer,
    Declined,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)

DAY = 86_400


async def in_doubt(refunds: RefundMaker, provider: FakeProvider, *, moved: bool) -> tuple[str, str]:
    """Create a refund of 300 in doubt, and return the ids of its payment and of the refund.

    ``moved`` says whether the provider moved the money.
    """
    payment_id = await refunds.paid()
    provider.refunds.append(Unknown("read time-out"))
    refund_id = await refunds.refunded(payment_id, 300)
    if moved:
        provider.moved[f"{refund_id}:1"] = 300
    return payment_id, refund_id


async def test_a_refund_in_doubt_keeps_its_reservation_and_ends_by_inquiry(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    began = time.monotonic()
    payment_id, refund_id = await in_doubt(refunds, provider, moved=True)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["outcome_known"], found.events) == (
        "processing",
        False,
        ["create", "claim", "doubt"],
    )
    assert await sums(admin, payment_id) == ("completed", 300, 0)
    assert is_plausible_remainder(await seconds_until_due(admin, refund_id), 1.6, 2.4, since=began)
    await process_when_due(refunds, admin, refund_id)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["outcome_known"], found.kinds) == ("completed", True, ["inquiry"])
    assert await sums(admin, payment_id) == ("refunded", 300, 300)
    assert [call for call in provider.calls if call[0] != "charge"] == [
        ("refund", f"{refund_id}:1"),
        ("inquire_refund", f"{refund_id}:1"),
    ]


async def test_only_the_rest_can_be_refunded_while_a_refund_is_in_doubt(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id, refund_id = await in_doubt(refunds, provider, moved=True)
    rest = await refunds.refunded(payment_id)
    assert (await evidence(admin, rest)).row["amount"] == 700
    assert await sums(admin, payment_id) == ("refunded", 1_000, 700)
    await process_when_due(refunds, admin, refund_id)
    assert await sums(admin, payment_id) == ("refunded", 1_000, 1_000)


@pytest.mark.parametrize(
    ("answer", "status", "reserved"),
    [
        (Declined("no"), "failed", 0),
        (Succeeded(300), "completed", 300),
        (Withdrawn(), "failed", 0),
    ],
)
async def test_a_certain_answer_ends_the_doubt(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin, answer: Answer, status: str, reserved: int
) -> None:
    payment_id, refund_id = await in_doubt(refunds, provider, moved=False)
    provider.inquiries.append(answer)
    await process_when_due(refunds, admin, refund_id)
    assert (await evidence(admin, refund_id)).status == status
    assert (await sums(admin, payment_id))[1] == reserved


async def test_not_found_proves_nothing_until_it_is_repeated_after_long_enough(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id, refund_id = await in_doubt(refunds, provider, moved=False)
    provider.inquiries.extend([NotFound(), NotFound()])
    await process_when_due(refunds, admin, refund_id)
    assert await sums(admin, payment_id) == ("completed", 300, 0)
    await process_when_due(refunds, admin, refund_id, after=provider.max_processing_seconds)
    assert (await evidence(admin, refund_id)).outcomes == ["not_found"]
    await refunds.process(refund_id)
    found = await evidence(admin, refund_id)
    assert (found.status, found.outcomes, found.attempts[0]["resends"]) == ("completed", ["succeeded"], 1)
    assert {reference for kind, reference in provider.calls if kind != "charge"} == {f"{refund_id}:1"}


async def test_a_lost_answer_to_a_resend_begins_the_schedule_again(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    _, refund_id = await in_doubt(refunds, provider, moved=False)
    provider.inquiries.extend([*[Unavailable("503")] * 5, NotFound(), NotFound()])
    for _ in range(6):
        await process_when_due(refunds, admin, refund_id)
    await process_when_due(refunds, admin, refund_id, after=provider.max_processing_seconds)
    provider.refunds.append(Unknown("read time-out"))
    began = time.monotonic()
    await refunds.process(refund_id)
    found = await evidence(admin, refund_id)
    assert (found.outcomes, found.attempts[0]["resends"]) == (["unknown"], 1)
    assert is_plausible_remainder(await seconds_until_due(admin, refund_id), 1.6, 2.4, since=began)


@pytest.mark.parametrize("fee", [-1, 301, 2**63 - 1])
async def test_refund_with_an_impossible_fee_waits_for_a_review_and_stays_reserved(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin, fee: int
) -> None:
    payment_id = await refunds.paid()
    provider.refunds.append(Succeeded(300, fee=fee))
    refund_id = await refunds.refunded(payment_id, 300)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["needs_review"], found.row["failure_code"]) == (
        "processing",
        True,
        "fee_out_of_range",
    )
    assert (found.row["fee"], await sums(admin, payment_id)) == (0, ("completed", 300, 0))


async def test_refund_of_a_smaller_amount_waits_for_a_review_and_stays_reserved(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    provider.refunds.append(Succeeded(299))
    refund_id = await refunds.refunded(payment_id, 300)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["needs_review"], found.row["failure_code"]) == (
        "processing",
        True,
        "amount_mismatch",
    )
    assert found.row["due_at"] is None
    assert await sums(admin, payment_id) == ("completed", 300, 0)


async def test_review_is_requested_after_a_day_of_doubt_and_the_amount_stays_reserved(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id, refund_id = await in_doubt(refunds, provider, moved=True)
    provider.inquiries.extend([Unavailable("503")] * 2)
    for _ in range(2):
        await process_when_due(refunds, admin, refund_id, after=DAY)
    found = await evidence(admin, refund_id)
    assert (found.row["needs_review"], found.events) == (True, ["create", "claim", "doubt", "request_review"])
    assert await sums(admin, payment_id) == ("completed", 300, 0)
    await process_when_due(refunds, admin, refund_id)
    assert await sums(admin, payment_id) == ("refunded", 300, 300)

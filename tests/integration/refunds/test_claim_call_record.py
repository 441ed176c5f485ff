"""A refund is claimed, sent and recorded, and changes its payment accordingly."""

import asyncio
from typing import Any

import psycopg
import pytest

from mpac.stack.local_stack import LocalStack
from tests.fakes import FakeProvider
from tests.integration.payments.evidence import all_of
from tests.integration.refunds.refund_helpers import (
    Admin,
    RefundMaker,
    evidence,
    process_when_due,
    sums,
    time_passes,
)
from tests.polling import eventually
from workflows.providers.base import (
    ActionRequired,
    Declined,
    Succeeded,
    Unavailable,
    Unknown,
)
from workflows.refunds.states import REFUND


async def history_of_payment(admin: Admin, payment_id: str) -> list[str]:
    rows = await all_of(admin, b"SELECT event FROM payment_history WHERE payment_id = %s ORDER BY version", payment_id)
    return [row["event"] for row in rows]


async def test_the_first_completed_refund_moves_the_payment_and_more_are_remarks(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    for number, amount in enumerate((300, 500, 200), start=1):
        refund_id = await refunds.refunded(payment_id, amount)
        found = await evidence(admin, refund_id)
        assert (found.status, found.events, found.outcomes) == (
            "completed",
            ["create", "claim", "complete"],
            ["succeeded"],
        )
        assert found.row["provider_reference"] == f"ref-{refund_id}:1"
        assert found.row["due_at"] is found.row["lease_until"] is None
        assert (await history_of_payment(admin, payment_id))[3:] == ["refund"] + ["refund_more"] * (number - 1)
    assert await sums(admin, payment_id) == ("refunded", 1_000, 1_000)


async def test_grouped_refunds_of_a_payment_add_a_single_version(refunds: RefundMaker, admin: Admin) -> None:
    payment_id = await refunds.paid()
    made = [await refunds.pending(payment_id, amount) for amount in (100, 200, 300)]
    await refunds.process(*made)
    assert await sums(admin, payment_id) == ("refunded", 600, 600)
    events_seen = await history_of_payment(admin, payment_id)
    assert events_seen[3] == "refund"
    assert set(events_seen[4:]) <= {"refund_more"}


async def test_refunds_of_a_locked_payment_wait_for_it_unlocked_and_are_both_counted(
    refunds: RefundMaker, admin: Admin, stack: LocalStack
) -> None:
    payment_id = await refunds.paid()
    made = [await refunds.pending(payment_id, amount) for amount in (100, 200)]
    async with await psycopg.AsyncConnection.connect(stack.urls.database) as foreign:
        await foreign.execute("SELECT FROM payments WHERE id = %s FOR UPDATE", [payment_id])
        working = [asyncio.ensure_future(refunds.process(refund_id)) for refund_id in made]
        await eventually(lambda: blocked(admin), until=lambda waiting: len(waiting) == len(made))
        # Payments are locked before refunds, as everywhere: a transaction that has the payment gets its refunds at once.
        await foreign.execute("SELECT FROM refunds WHERE payment_id = %s FOR UPDATE NOWAIT", [payment_id])
    await asyncio.gather(*working)
    assert await sums(admin, payment_id) == ("refunded", 300, 300)
    assert (await history_of_payment(admin, payment_id))[3:] == ["refund", "refund_more"]


async def blocked(admin: Admin) -> list[Any]:
    """Return the statements that record refunds and wait for a lock."""
    query = b"SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%UPDATE refunds r%%'"
    return await all_of(admin, query)


async def test_a_declined_refund_releases_its_reservation(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    provider.refunds.append(Declined("refund_window_closed", "Too long ago"))
    refund_id = await refunds.refunded(payment_id)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["failure_code"]) == ("failed", "refund_window_closed")
    assert await sums(admin, payment_id) == ("completed", 0, 0)
    await refunds.refunded(payment_id)
    assert await sums(admin, payment_id) == ("refunded", 1_000, 1_000)


async def test_completed_and_failed_refunds_of_a_payment_are_recorded_in_one_group(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    made = [await refunds.pending(payment_id, 250) for _ in range(4)]
    provider.refunds.extend([Declined("no"), Succeeded(250), Declined("no"), Succeeded(250)])
    await refunds.process(*made)
    assert await sums(admin, payment_id) == ("refunded", 500, 500)


async def test_an_unavailable_provider_gets_the_refund_again_under_the_same_reference(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    provider.refunds.extend([Unavailable("503")] * 2)
    refund_id = await refunds.refunded(payment_id, 300)
    assert await sums(admin, payment_id) == ("completed", 300, 0)
    for _ in range(2):
        await process_when_due(refunds, admin, refund_id)
    found = await evidence(admin, refund_id)
    assert (found.status, found.outcomes, found.attempts[0]["resends"]) == ("completed", ["succeeded"], 2)
    assert found.kinds == ["first_answer", "resend", "resend"]
    assert [call for call in provider.calls if call[0] == "refund"] == [("refund", f"{refund_id}:1")] * 3


async def test_a_provider_that_does_not_deduplicate_gets_the_refund_as_a_new_attempt(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    provider.deduplicates = False
    payment_id = await refunds.paid()
    provider.refunds.extend([Unavailable("503")] * 2)
    refund_id = await refunds.refunded(payment_id, 300)
    for _ in range(2):
        await process_when_due(refunds, admin, refund_id)
    found = await evidence(admin, refund_id)
    assert (found.status, found.outcomes) == ("completed", ["unavailable", "unavailable", "succeeded"])
    assert [reference for kind, reference in provider.calls if kind == "refund"] == [
        f"{refund_id}:{number}" for number in (1, 2, 3)
    ]


async def test_refund_fails_after_five_retries_and_nothing_moved(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    provider.refunds.extend([Unavailable("503")] * 6)
    refund_id = await refunds.refunded(payment_id)
    for _ in range(5):
        assert (await evidence(admin, refund_id)).status == "processing"
        await process_when_due(refunds, admin, refund_id)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["failure_code"]) == ("failed", "provider_unavailable")
    assert await sums(admin, payment_id) == ("completed", 0, 0)


async def test_refund_that_its_provider_accepted_is_polled_until_it_is_decided(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    provider.refunds.append(ActionRequired(None, "r-1"))
    provider.inquiries.extend([ActionRequired(None, "r-1"), Unavailable("503"), Succeeded(300)])
    refund_id = await refunds.refunded(payment_id, 300)
    for _ in range(2):
        await process_when_due(refunds, admin, refund_id)
        assert (await evidence(admin, refund_id)).row["outcome_known"] is True
        assert await sums(admin, payment_id) == ("completed", 300, 0)
    await process_when_due(refunds, admin, refund_id)
    found = await evidence(admin, refund_id)
    assert (found.status, found.events) == ("completed", ["create", "claim", "await_provider", "complete"])
    assert [kind for kind, _ in provider.calls].count("refund") == 1


async def test_message_delivered_five_times_concurrently_refunds_once(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    payment_id = await refunds.paid()
    made = [await refunds.pending(payment_id, 100) for _ in range(10)]
    await asyncio.gather(*(refunds.process(*made) for _ in range(5)))
    given = [reference for kind, reference in provider.calls if kind == "refund"]
    assert sorted(given) == sorted(f"{refund_id}:1" for refund_id in made)
    assert await sums(admin, payment_id) == ("refunded", 1_000, 1_000)


async def test_a_worker_that_stops_beyond_its_lease_records_nothing_and_its_answer_is_evidence(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    payment_id = await refunds.paid()
    refund_id = await refunds.pending(payment_id, 300)
    provider.hold()
    provider.heard.clear()
    working = asyncio.ensure_future(refunds.process(refund_id))
    await provider.heard.wait()
    assert (await evidence(admin, refund_id)).outcomes == [None]  # the attempt is written before the call
    await time_passes(admin, refund_id, seconds=31)
    await refunds.process(refund_id)
    done = await evidence(admin, refund_id)
    assert (done.status, provider.calls[-1]) == ("completed", ("inquire_refund", f"{refund_id}:1"))
    provider.release()
    await working
    await asyncio.wait_for(refunds.processor.drain(5), 10)
    after = await evidence(admin, refund_id)
    assert after.row["version"] == done.row["version"]
    assert after.kinds == ["inquiry", "late_answer"]
    assert f"refund {refund_id} was taken over by another worker; the answer was stored as evidence" in caplog.text
    assert await sums(admin, payment_id) == ("refunded", 300, 300)


async def refund_in(refunds: RefundMaker, provider: FakeProvider, status: str) -> str:
    """Create a refund, bring it to ``status`` by events, and return its id."""
    payment_id = await refunds.paid()
    outcome: dict[str, list[Any]] = {"processing": [Unknown("?")], "failed": [Declined("no")]}
    provider.refunds.extend(outcome.get(status, []))
    return await (refunds.pending if status == "pending" else refunds.refunded)(payment_id, 300)


@pytest.mark.parametrize("source", [str(status) for status in REFUND.statuses])
async def test_raw_sql_moves_a_real_refund_along_no_other_edge(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin, source: str
) -> None:
    refund_id = await refund_in(refunds, provider, source)
    assert (await evidence(admin, refund_id)).status == source
    legal = set(REFUND.edges())
    for target in (str(status) for status in REFUND.statuses):
        if source == target or (source, target) in legal:
            continue
        with pytest.raises(psycopg.errors.CheckViolation, match="refund"):
            await admin.execute(
                "UPDATE refunds SET status = %s, version = version + 1 WHERE id = %s", [target, refund_id]
            )


async def test_review_is_requested_for_a_refund_that_its_provider_accepted_and_never_decides(
    refunds: RefundMaker, provider: FakeProvider, admin: Admin
) -> None:
    refund_id = await pending_at_provider(refunds, provider)
    provider.inquiries.extend([ActionRequired(None), ActionRequired(None), Unavailable("503")])
    await process_when_due(refunds, admin, refund_id, after=3_600)
    assert not (await evidence(admin, refund_id)).row["needs_review"]
    for _ in range(2):
        await process_when_due(refunds, admin, refund_id, after=601)
        found = await evidence(admin, refund_id)
        assert (found.status, found.row["needs_review"], found.row["outcome_known"]) == ("processing", True, True)
    assert found.events == ["create", "claim", "await_provider", "request_review"]
    provider.moved[f"{refund_id}:1"] = 1_000
    await process_when_due(refunds, admin, refund_id)
    done = await evidence(admin, refund_id)
    assert (done.status, done.row["needs_review"]) == ("completed", False)


async def pending_at_provider(refunds: RefundMaker, provider: FakeProvider) -> str:
    """Create a refund that the provider accepts without deciding on it, and return its id."""
    payment_id = await refunds.paid()
    provider.refunds.append(ActionRequired(None))
    return await refunds.refunded(payment_id)

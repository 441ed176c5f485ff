"""The provider answers late, wrongly or not at all: at most one charge, and finally the true outcome (F12-F17)."""

from collections import Counter

import pytest

from tests.live_stack import LiveStack
from tests.polling import eventually

ENOUGH_SECONDS = 60.0


async def charge_counts(live: LiveStack, ids: list[str]) -> Counter[int]:
    """Count the payments by the number of their charges."""
    return Counter([len(await live.charges(payment_id)) for payment_id in ids])


async def count_doubted(live: LiveStack, ids: list[str]) -> int:
    """Count the payments whose outcome was unknown for a while."""
    query = (
        "SELECT count(DISTINCT payment_id) AS count FROM payment_history WHERE payment_id = ANY(%s) AND event = 'doubt'"
    )
    (row,) = await live.sql(query, ids)
    return int(row["count"])


async def inquiry_answers(live: LiveStack, ids: list[str]) -> Counter[str]:
    """Count the answers of the provider to inquiries about the payments."""
    query = "SELECT answer FROM payment_messages WHERE payment_id = ANY(%s) AND kind = 'inquiry'"
    return Counter(row["answer"] for row in await live.sql(query, ids))


async def reconcile_day(live: LiveStack, settlement_id: str) -> None:
    """Reconcile a closed settlement as the store's manager.

    The request is retried while a worker inquires about one of the settlement's payments.
    """
    manager = live.api.signer.user(live.tenant, role="store_manager")
    await eventually(
        lambda: live.api.post(f"/settlements/{settlement_id}/reconcile", as_=manager),
        until=lambda answer: answer.status == 200 and answer.body["status"] == "reconciled",
        within=ENOUGH_SECONDS,
    )


async def resend_counts(live: LiveStack, ids: list[str]) -> list[int]:
    """Return, for each successful attempt, how often it was sent again under the same key."""
    query = "SELECT resends FROM payment_attempts WHERE payment_id = ANY(%s) AND outcome = 'succeeded'"
    return [row["resends"] for row in await live.sql(query, ids)]


@pytest.mark.parametrize("rate", [0.3, 1.0])
async def test_a_timeout_after_the_charge_is_completed_by_an_inquiry_with_one_charge(
    live: LiveStack, rate: float
) -> None:
    await live.faults(timeout_after_charge=rate)
    ids = await live.pay_many(40)
    assert await live.final_statuses(ids, within=ENOUGH_SECONDS) == {"completed": 40}
    assert await charge_counts(live, ids) == {1: 40}
    doubts = await count_doubted(live, ids)
    assert doubts == 40 if rate == 1.0 else 0 < doubts < 40


async def test_a_timeout_before_the_charge_is_sent_again_only_once_not_charged_is_proven(live: LiveStack) -> None:
    ids = await live.pay_many(10, fate="timeout_before_charge")
    assert await live.final_statuses(ids, within=ENOUGH_SECONDS) == {"completed": 10}
    assert await charge_counts(live, ids) == {1: 10}
    again = await resend_counts(live, ids)
    assert (len(again), min(again) >= 1) == (10, True), again
    assert (await inquiry_answers(live, ids))["not_found"] >= 2 * 10


async def test_an_inquiry_that_wrongly_answers_not_found_causes_no_second_charge(live: LiveStack) -> None:
    ids = await live.pay_many(10, fate="not_found_lie:4000")  # "not found" for two seconds
    assert await live.final_statuses(ids, within=ENOUGH_SECONDS) == {"completed": 10}
    assert await charge_counts(live, ids) == {1: 10}
    assert (await inquiry_answers(live, ids))["not_found"] > 0


async def test_a_wrong_not_found_that_lasts_longer_than_the_proof_is_deduplicated_by_the_provider(
    live: LiveStack,
) -> None:
    ids = await live.pay_many(6, fate="not_found_lie:12000")
    assert await live.final_statuses(ids, within=ENOUGH_SECONDS) == {"completed": 6}
    assert await charge_counts(live, ids) == {1: 6}
    assert sum(await resend_counts(live, ids)) > 0, "the lie did not outlast the proof"


@pytest.mark.parametrize("word", ["timeout_after_charge", "error_500_after_charge", "reset_after_charge"])
async def test_a_provider_that_ignores_keys_still_charges_once(live: LiveStack, word: str) -> None:
    ids = await live.pay_many(10, fate=f"{word}+ignore_idempotency")
    assert await live.final_statuses(ids, within=ENOUGH_SECONDS) == {"completed": 10}
    assert await charge_counts(live, ids) == {1: 10}
    assert await count_doubted(live, ids) == 10


async def test_payments_among_all_kinds_of_lost_answers_end_as_the_provider_recorded_them(live: LiveStack) -> None:
    words = ("error_500_before_charge", "error_500_after_charge", "reset_after_charge", "garbage_after_charge")
    await live.faults(**dict.fromkeys(words, 0.2), **{"decline:lost_card": 0.1, "unavailable:2": 0.1})
    ids = await live.pay_many(100)
    ended = await live.final_statuses(ids, within=ENOUGH_SECONDS)
    assert ended["completed"] + ended["failed"] == 100
    assert ended["failed"] > 0
    charged = await charge_counts(live, ids)
    assert charged == {1: ended["completed"], 0: ended["failed"]}
    assert await count_doubted(live, ids) > 40  # expected for four of five fates


async def test_a_payment_stays_processing_while_inquiries_are_unavailable_and_completes_afterwards(
    live: LiveStack,
) -> None:
    payment_id = await live.pay(fate="timeout_after_charge+inquiry_unavailable:5000")
    row = await live.wait_for_status(payment_id, "completed", within=ENOUGH_SECONDS)
    assert row["inquiries"] >= 2
    assert (await inquiry_answers(live, [payment_id]))["unavailable"] >= 1
    assert await live.charges(payment_id) == [1_000]


DARK = "reset_after_charge+inquiry_unavailable:86400000"
"""A fate: the provider charges, loses the answer, and answers no inquiry about the charge for a day."""


async def test_a_statement_decides_thirteen_payments_whose_inquiries_are_never_answered(live: LiveStack) -> None:
    sale = await live.pay()
    assert await live.final_statuses([sale]) == {"completed": 1}
    await live.faults(**{DARK: 1.0})
    ids = await live.pay_many(13)
    body = {"amount": 300, "reason": "cold soup", "staff_code": "s-7"}
    assert (await live.api.post(f"/payments/{sale}/refund", body, as_=live.staff, key=sale)).status == 201
    dark = """SELECT id FROM payments WHERE id = ANY(%s) AND NOT outcome_known UNION ALL
              SELECT id FROM refunds WHERE payment_id = ANY(%s) AND NOT outcome_known"""
    await eventually(lambda: live.sql(dark, [*ids], [sale]), until=lambda rows: len(rows) == 14, within=ENOUGH_SECONDS)
    # A reset may also hit a request that was not charged yet. No statement lists it; inquiries end that doubt.
    ids = [payment_id for payment_id in ids if await live.charges(payment_id)]
    assert len(ids) > 10
    await live.sandbox("DELETE", "/control/faults")
    # One of them is in review, no longer due, and was cancelled later: its money has to be refunded. No worker may be asking
    # about it at that moment: the cancel would make its lost inquiry a reversal that may have happened.
    withdrawn = """UPDATE payments SET needs_review = true, due_at = NULL, fence = fence + 1, cancel_requested_at = now(),
                   on_too_late = 'refund' WHERE id = %s AND lease_until IS NULL AND unanswered_claims = 0 RETURNING id"""
    await eventually(lambda: live.sql(withdrawn, ids[0]), until=bool, within=ENOUGH_SECONDS)

    day = (await live.close_the_day())["id"]
    await reconcile_day(live, day)
    assert (await live.wait_for_status(ids[0], "refunded", within=ENOUGH_SECONDS))["cancel_outcome"] == "too_late"
    assert await live.statuses(ids) == {"completed": len(ids) - 1, "refunded": 1}
    assert (await live.row(sale))["refunded_amount"] == 300
    assert await charge_counts(live, ids) == {1: len(ids)}
    assert (await inquiry_answers(live, ids))["succeeded"] == 0
    (row,) = await live.sql("SELECT count(*) AS count FROM statement_evidence WHERE settlement_id = %s", day)
    assert row["count"] == len(ids) + 1
    decided = "SELECT id, version FROM payments WHERE id = ANY(%s) ORDER BY id"
    versions = await live.sql(decided, ids)
    await reconcile_day(live, (await live.close_the_day())["id"])  # the settlement that has their lines
    assert await live.sql(decided, ids) == versions


@pytest.mark.long
async def test_five_thousand_payments_among_all_faults_are_charged_exactly_once_or_not_at_all(live: LiveStack) -> None:
    await live.faults(
        timeout_after_charge=0.1,
        error_500_after_charge=0.1,
        reset_after_charge=0.1,
        garbage_after_charge=0.1,
        timeout_before_charge=0.05,
        **{
            "unavailable:3": 0.1,
            "rate_limited:1": 0.1,
            "decline:lost_card": 0.1,
            "slow:300": 0.1,
            "not_found_lie:1000": 0.05,
        },
    )
    ids = await live.pay_many(5_000)
    ended = await live.final_statuses(ids, within=600)
    assert ended["completed"] + ended["failed"] == 5_000
    assert ended["failed"] > 250  # a tenth is declined
    assert await count_doubted(live, ids) > 1_500  # of the half whose answer is lost
    assert await charge_counts(live, ids) == {1: ended["completed"], 0: ended["failed"]}

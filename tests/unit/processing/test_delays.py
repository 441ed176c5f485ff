"""Test the delays before the next inquiry and before the next retry."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.processing.situations import POLICY, decided, facts
from workflows.processing.decide import RetryPolicy
from workflows.processing.delays import (
    HOURLY_INQUIRIES,
    OVERDUE_POLL_SECONDS,
    POLL_SECONDS,
    inquiry_delay_seconds,
    retry_delay_seconds,
)
from workflows.processing.next_step import OVERDUE, Step
from workflows.providers.base import (
    ActionRequired,
    Answer,
    Unavailable,
    Unknown,
)


def test_delays_between_inquiries_follow_the_schedule_of_the_specification() -> None:
    asked = [inquiry_delay_seconds(number) for number in range(40)]
    assert asked[:8] == [2, 5, 15, 30, 60, 120, 300, 900]
    assert set(asked[8 : 8 + HOURLY_INQUIRIES]) == {3_600}
    assert set(asked[8 + HOURLY_INQUIRIES :]) == {86_400}


def test_delays_of_inquiries_are_spread_by_a_fifth() -> None:
    seen = [
        decided(Step.CHARGE, Unknown("?"), policy=replace(POLICY, spread=RetryPolicy(60, 60).spread))
        for _ in range(400)
    ]
    delays = [found.due_in_seconds or 0 for found in seen]
    assert min(delays) >= 2 * 0.8
    assert max(delays) <= 2 * 1.2
    assert max(delays) - min(delays) > 0.4


def test_scale_shortens_the_delays_of_inquiries_and_preserves_their_order() -> None:
    asked = [inquiry_delay_seconds(number, scale=0.01) for number in range(8)]
    assert asked == sorted(asked)
    assert asked[0] == pytest.approx(0.02)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (5, 8)])
def test_retries_back_off(attempt: int, seconds: float) -> None:
    assert retry_delay_seconds(attempt, retry_after=None, spread=1.0) == seconds


def test_a_retry_waits_as_long_as_the_provider_asked_for_but_never_beyond_five_minutes() -> None:
    assert retry_delay_seconds(1, retry_after=7, spread=1.0) == 7
    assert retry_delay_seconds(4, retry_after=1, spread=1.0) == 4
    assert retry_delay_seconds(1, retry_after=86_400, spread=1.0) == 300
    assert decided(Step.CHARGE, Unavailable("429", 30)).due_in_seconds == 30


def test_a_retry_never_waits_beyond_the_expiry() -> None:
    nearly = replace(facts(sent=False), elapsed_seconds=290)
    assert decided(Step.CHARGE, Unavailable("429", 120), nearly).due_in_seconds == 10
    resent = replace(facts("not_found", doubted_hours=1, inquiries=8), elapsed_seconds=290)
    assert decided(Step.RESEND, Unavailable("503"), resent).due_in_seconds == 10


@pytest.mark.parametrize("answer", [ActionRequired(None), Unavailable("503"), Unknown("?")])
def test_overdue_payment_is_polled_once_a_minute_after_a_review_was_requested(answer: Answer) -> None:
    waiting = facts("action_required", reviewed=True)
    found = decided(Step.INQUIRE, answer, replace(waiting, now=waiting.expires_at + OVERDUE))
    assert (found.event, found.due_in_seconds, found.needs_review) == (None, OVERDUE_POLL_SECONDS, True)
    before = decided(Step.INQUIRE, answer, replace(waiting, now=waiting.expires_at + OVERDUE - timedelta(seconds=1)))
    assert before.due_in_seconds == POLL_SECONDS

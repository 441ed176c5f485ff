"""Verdict: what a provider's answer to a step means, without any I/O: what to record, and when to look again.

One function per kind of answer, in the table at the end; which step was taken says ``next_step``.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workflows.payments.next_step import NOTHING_MOVED, Attempt, Facts, Step
from workflows.payments.states import PaymentEvent, PaymentRemark, PaymentStatus
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

MAX_RETRIES = 5
"""Technical retries at most (behaviour §5); nothing moved in any of them, so the payment then fails."""

MAX_RETRY_AFTER_SECONDS = 300
"""A provider's wish to wait is honoured up to here."""

POLL_SECONDS = 2.5
"""How often a waiting code is asked about: providers advise every 2-3 s."""

INQUIRY_DELAYS_SECONDS = (2, 5, 15, 30, 60, 120, 300, 900)
"""When an unknown outcome is asked about again (behaviour §5); after these hourly for a day, then daily."""

HOUR, DAY = 3_600, 86_400
HOURLY_QUESTIONS = 24


@dataclass(slots=True)
class Verdict:
    """What to record: the event (``None``: nothing worth a version), and what changes with it.

    ``due_in_seconds`` is when to look again (``None``: never, it is over). ``attempt_outcome`` ``None`` leaves the
    attempt as it is.
    """

    event: PaymentEvent | PaymentRemark | None = None
    status: PaymentStatus | None = None
    due_in_seconds: float | None = None
    attempt_outcome: str | None = None
    code: str | None = None
    message: str | None = None
    outcome_known: bool = True
    needs_review: bool = False
    next_action: dict[str, Any] | None = None
    provider_reference: str | None = None
    approval_code: str | None = None
    card_brand: str | None = None
    card_last_4: str | None = None
    fee: int = 0
    """What the provider keeps for it, minor units."""
    keeps_action: bool = False
    """Whether what the customer is shown stays as it is."""
    not_found: bool = False
    """Whether the inquiry found nothing (the first of two in a row is remembered by its time)."""
    was_question: bool = False
    """Whether this was one more question about an unknown outcome."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How patient to be. ``scale`` shortens the questions' delays in tests and demonstrations, never their order."""

    max_processing_seconds: float
    review_after_seconds: float
    scale: float = 1.0
    deduplicates: bool = True
    spread: Callable[[], float] = lambda: random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing


def inquiry_delay_seconds(inquiries: int, *, scale: float = 1.0, spread: float = 1.0) -> float:
    """Seconds until the next question, after ``inquiries`` questions were asked."""
    if inquiries < len(INQUIRY_DELAYS_SECONDS):
        return INQUIRY_DELAYS_SECONDS[inquiries] * scale * spread
    return (HOUR if inquiries < len(INQUIRY_DELAYS_SECONDS) + HOURLY_QUESTIONS else DAY) * scale * spread


def retry_delay_seconds(attempt: int, *, retry_after: float | None, spread: float) -> float:
    """Seconds until another attempt: 0.5, 1, 2, 4, 8 s, or what the provider asked for if that is longer (5 min at most)."""
    backoff: float = 0.5 * 2 ** (attempt - 1)
    return max(backoff * spread, min(retry_after or 0, MAX_RETRY_AFTER_SECONDS))


def verdict(step: Step, answer: Answer | None, *, facts: Facts, schedule: Schedule) -> Verdict:
    """What ``answer`` to ``step`` means for a payment. ``answer`` is ``None`` exactly for ``Step.CANCEL``."""
    if step is Step.CANCEL or answer is None:
        return _cancelled(facts)
    return _BY_ANSWER[type(answer)](step, answer, facts, schedule)


def _cancelled(facts: Facts) -> Verdict:
    reason = "requested" if facts.cancel_requested else "expired" if facts.is_expired else "withdrawn_by_provider"
    return Verdict(PaymentEvent.CANCEL, PaymentStatus.CANCELLED, code=reason)


def _withdrawn(_step: Step, _answer: Any, facts: Facts, _schedule: Schedule) -> Verdict:
    result = _cancelled(facts)
    result.attempt_outcome = "withdrawn"
    return result


def _succeeded(_step: Step, answer: Succeeded, facts: Facts, _schedule: Schedule) -> Verdict:
    if answer.amount != facts.amount:
        # Money moved, but not the money that was asked for: neither completed nor failed would be true.
        return Verdict(
            PaymentRemark.REQUEST_REVIEW,
            attempt_outcome="succeeded",
            code="amount_mismatch",
            message=f"The provider moved {answer.amount} where {facts.amount} was asked for",
            outcome_known=False,
            needs_review=True,
            provider_reference=answer.provider_reference,
        )
    return Verdict(
        PaymentEvent.COMPLETE,
        PaymentStatus.COMPLETED,
        attempt_outcome="succeeded",
        provider_reference=answer.provider_reference,
        approval_code=answer.approval_code,
        card_brand=answer.card_brand,
        card_last_4=answer.card_last_4,
        fee=answer.fee,
    )


def _declined(step: Step, answer: Declined, facts: Facts, schedule: Schedule) -> Verdict:
    if answer.is_retriable:
        number = _answered_number(step, facts.attempt)
        return _again_or_fail(
            number, schedule, outcome="declined", code=answer.code, message=answer.message, retry_after=None
        )
    return Verdict(
        PaymentEvent.FAIL, PaymentStatus.FAILED, attempt_outcome="declined", code=answer.code, message=answer.message
    )


def _answered_number(step: Step, last: Attempt | None) -> int:
    """The number of the attempt that was answered; ``last`` is the one before where this step sent a new one."""
    if last is None:
        return 1
    return last.number + 1 if step is Step.CHARGE and last.outcome in NOTHING_MOVED else last.number


def _again_or_fail(
    number: int, schedule: Schedule, *, outcome: str, code: str, message: str, retry_after: float | None
) -> Verdict:
    if number <= MAX_RETRIES:
        delay = retry_delay_seconds(number, retry_after=retry_after, spread=schedule.spread())
        return Verdict(due_in_seconds=delay, attempt_outcome=outcome, code=code, message=message)
    return Verdict(PaymentEvent.FAIL, PaymentStatus.FAILED, attempt_outcome=outcome, code=code, message=message)


def _action_required(_step: Step, answer: ActionRequired, facts: Facts, schedule: Schedule) -> Verdict:
    is_news = not facts.outcome_known or facts.attempt is None or facts.attempt.outcome != "action_required"
    return Verdict(
        _review_if_overdue(facts) or (PaymentRemark.ASK_CUSTOMER if is_news else None),
        due_in_seconds=POLL_SECONDS * schedule.scale,
        attempt_outcome="action_required",
        needs_review=facts.needs_review or facts.is_overdue,
        next_action=answer.next_action,
        provider_reference=answer.provider_reference,
    )


def _review_if_overdue(facts: Facts) -> PaymentRemark | None:
    """A person is asked once about what a provider took on and does not decide."""
    return PaymentRemark.REQUEST_REVIEW if facts.is_overdue and not facts.needs_review else None


def _unavailable(step: Step, answer: Unavailable, facts: Facts, schedule: Schedule) -> Verdict:
    if step is Step.CHARGE:
        return _again_or_fail(
            _answered_number(step, facts.attempt),
            schedule,
            outcome="unavailable",
            code="provider_unavailable",
            message=answer.reason,
            retry_after=answer.retry_after_seconds,
        )
    if step is Step.ASK and facts.outcome_known and facts.attempt and facts.attempt.outcome == "action_required":
        # The customer's code is still out there and we know it; only this question went unheard.
        result = Verdict(
            _review_if_overdue(facts),
            due_in_seconds=POLL_SECONDS * schedule.scale,
            keeps_action=True,
            needs_review=facts.needs_review or facts.is_overdue,
        )
    else:
        result = _still_unknown(facts, schedule, answer.reason)
    if step is Step.RESEND:
        # This call did nothing, and the one before it was proven not to have arrived: the same may be sent once more, as
        # patiently as questions are asked, for a provider may be away for hours.
        result.attempt_outcome = "not_found"
    wanted = min(answer.retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS)
    result.due_in_seconds = max(result.due_in_seconds or 0, wanted)
    return result


def _unknown(step: Step, answer: Unknown, facts: Facts, schedule: Schedule) -> Verdict:
    if step is Step.ASK:  # a question without an answer moves nothing, so it is one that nobody heard
        return _unavailable(step, Unavailable(answer.reason), facts, schedule)
    result = _still_unknown(facts, schedule, answer.reason)
    if step in (Step.CHARGE, Step.RESEND):
        result.attempt_outcome = "unknown"
    return result


def _not_found(step: Step, _answer: Any, facts: Facts, schedule: Schedule) -> Verdict:
    """Two in a row, at least ``max_processing_seconds`` apart, prove that the call never arrived."""
    first = facts.attempt.not_found_at if facts.attempt else None
    waited = (facts.now - first).total_seconds() if first else 0.0
    result = _still_unknown(facts, schedule, "the provider does not know it yet")
    result.not_found = True
    result.attempt_outcome = "unknown"
    left = schedule.max_processing_seconds - waited
    if first is not None and left <= 0:
        # What nobody wants any more is not sent again; whether it will still arrive, only the next question can tell.
        if schedule.deduplicates and step is not Step.WITHDRAW:
            result.attempt_outcome = "not_found"
            result.due_in_seconds = 0
        return result
    result.due_in_seconds = min(result.due_in_seconds or left, max(left, 0.05))
    return result


def _still_unknown(facts: Facts, schedule: Schedule, reason: str) -> Verdict:
    delay = inquiry_delay_seconds(facts.inquiries, scale=schedule.scale, spread=schedule.spread())
    doubted_for = (facts.now - facts.in_doubt_since).total_seconds() if facts.in_doubt_since else 0.0
    is_too_long = doubted_for >= schedule.review_after_seconds
    remark: PaymentRemark | None = PaymentRemark.DOUBT if facts.outcome_known else None
    if is_too_long and not facts.needs_review:
        remark = PaymentRemark.REQUEST_REVIEW
    return Verdict(
        remark,
        due_in_seconds=delay,
        message=reason,
        outcome_known=False,
        needs_review=facts.needs_review or is_too_long,
        was_question=True,
    )


_BY_ANSWER: dict[type, Callable[[Step, Any, Facts, Schedule], Verdict]] = {
    Succeeded: _succeeded,
    Declined: _declined,
    ActionRequired: _action_required,
    Unavailable: _unavailable,
    Unknown: _unknown,
    NotFound: _not_found,
    Withdrawn: _withdrawn,
}

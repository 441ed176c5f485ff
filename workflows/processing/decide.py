"""Decide what a provider's answer to a step means: what to record, and when the row is due again. No I/O.

There is one function per kind of answer; the table at the end lists them. ``next_step`` chose the step.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workflows.processing.decision import CancelReason, Decision, Event, FinalStatus, Remark
from workflows.processing.delays import (
    MAX_RETRY_AFTER_SECONDS,
    OVERDUE_POLL_SECONDS,
    POLL_SECONDS,
    inquiry_delay_seconds,
    retry_delay_seconds,
)
from workflows.processing.next_step import SENDS, Attempt, Facts, Step
from workflows.providers.base import (
    ActionRequired,
    Answer,
    Declined,
    FailureCode,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)

MAX_RETRIES = 5
"""Limit for technical retries (behaviour §5). No money moved in any of them, so the payment fails after the last one."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A provider's limits and delays. ``scale`` shortens the delays in tests and demonstrations, but keeps their order."""

    max_processing_seconds: float
    review_after_seconds: float
    scale: float = 1.0
    spread: Callable[[], float] = lambda: random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing


def decide(step: Step, answer: Answer | None, *, facts: Facts, policy: RetryPolicy) -> Decision:
    """Return what to record for ``answer`` to ``step``. ``answer`` is ``None`` only for ``Step.CANCEL``."""
    if step is Step.CANCEL or answer is None:
        return _cancelled(facts)
    if step is Step.REVERSE and type(answer) not in _OF_A_REVERSAL:
        # The charge has moved money, so an answer that denies it cannot be an answer to this request.
        answer = Unknown(f"the provider answered {type(answer).__name__} to a reversal")
    return _BY_ANSWER[type(answer)](step, answer, facts, policy)


def _cancelled(facts: Facts) -> Decision:
    return Decision(Event.CANCEL, FinalStatus.CANCELLED, code=_reason(facts))


def _reason(facts: Facts) -> str:
    ended = CancelReason.EXPIRED if facts.is_expired else CancelReason.WITHDRAWN_BY_PROVIDER
    return CancelReason.REQUESTED if facts.cancel_requested else ended


def _withdrawn(_step: Step, _answer: Any, facts: Facts, _policy: RetryPolicy) -> Decision:
    result = _cancelled(facts)
    result.attempt_outcome = "withdrawn"
    return result


def _succeeded(step: Step, answer: Succeeded, facts: Facts, _policy: RetryPolicy) -> Decision:
    if answer.amount != facts.amount:
        # Money moved, but not the requested amount, so neither completed nor failed would be true.
        message = f"The provider moved {answer.amount} where {facts.amount} was asked for"
        return _implausible_success(step, answer, facts, code=FailureCode.AMOUNT_MISMATCH, message=message)
    if not 0 <= answer.fee <= answer.amount:
        message = f"The provider reported a fee of {answer.fee} for {answer.amount}"
        return _implausible_success(step, answer, facts, code=FailureCode.FEE_OUT_OF_RANGE, message=message)
    return Decision(
        Event.COMPLETE,
        FinalStatus.COMPLETED,
        attempt_outcome="succeeded",
        provider_reference=answer.provider_reference,
        approval_code=answer.approval_code,
        card_brand=answer.card_brand,
        card_last_4=answer.card_last_4,
        fee=answer.fee,
    )


def _implausible_success(step: Step, answer: Succeeded, facts: Facts, *, code: str, message: str) -> Decision:
    """Request a review of a success that cannot be right.

    If a cancel was requested, reverse the charge next.
    """
    is_reversed_next = facts.cancel_requested and step is not Step.REVERSE
    is_known = facts.attempt is not None and facts.attempt.outcome == "succeeded"
    was_requested = facts.needs_review and (is_known or is_reversed_next)
    return Decision(
        None if was_requested else Remark.REQUEST_REVIEW,
        due_in_seconds=0 if is_reversed_next else None,
        attempt_outcome="succeeded",
        code=code,
        message=message,
        outcome_known=False,
        needs_review=True,
        provider_reference=answer.provider_reference,
        # Only the first reversal restarts the schedule, so a reversal that is never granted is repeated ever less often.
        inquiries=0 if is_reversed_next and not facts.needs_review else None,
    )


def _declined(step: Step, answer: Declined, facts: Facts, policy: RetryPolicy) -> Decision:
    if answer.is_retriable:
        result = Decision(attempt_outcome="declined", code=answer.code, message=answer.message)
        return _retry_or_fail(step, result, facts, policy, retry_after=None)
    return Decision(
        Event.FAIL, FinalStatus.FAILED, attempt_outcome="declined", code=answer.code, message=answer.message
    )


def _calls(step: Step, last: Attempt | None) -> int:
    """Return how often the row has been sent, ``step`` included.

    ``last`` is the attempt as it was before ``step``.
    """
    sent = last.number + last.resends if last else 0
    return sent + 1 if step in SENDS else sent


def _retry_or_fail(
    step: Step, result: Decision, facts: Facts, policy: RetryPolicy, *, retry_after: float | None
) -> Decision:
    """Complete ``result``, the decision for a call that certainly moved nothing: cancel, fail, or retry."""
    calls = max(1, _calls(step, facts.attempt))
    if facts.is_unwanted:
        result.event, result.status, result.code = Event.CANCEL, FinalStatus.CANCELLED, _reason(facts)
    elif calls > MAX_RETRIES:
        result.event, result.status = Event.FAIL, FinalStatus.FAILED
    else:
        delay = retry_delay_seconds(calls, retry_after=retry_after, spread=policy.spread())
        result.due_in_seconds = min(delay, facts.seconds_left)
    return result


def _action_required(_step: Step, answer: ActionRequired, facts: Facts, policy: RetryPolicy) -> Decision:
    is_news = not facts.outcome_known or facts.attempt is None or facts.attempt.outcome != "action_required"
    return Decision(
        _review_if_overdue(facts) or (Remark.ASK_CUSTOMER if is_news else None),
        due_in_seconds=_poll_seconds(facts, policy),
        attempt_outcome="action_required",
        needs_review=facts.needs_review or facts.is_overdue,
        next_action=answer.next_action,
        provider_reference=answer.provider_reference,
    )


def _poll_seconds(facts: Facts, policy: RetryPolicy) -> float:
    return (OVERDUE_POLL_SECONDS if facts.is_overdue else POLL_SECONDS) * policy.scale


def _review_if_overdue(facts: Facts) -> Remark | None:
    """Return a request for review if the provider accepted the row but has not decided in time.

    The row is a payment or a refund. A review is requested only once.
    """
    return Remark.REQUEST_REVIEW if facts.is_overdue and not facts.needs_review else None


def _unavailable(step: Step, answer: Unavailable, facts: Facts, policy: RetryPolicy) -> Decision:
    if step in (Step.CHARGE, Step.RETRY):
        result = Decision(attempt_outcome="unavailable", code=FailureCode.PROVIDER_UNAVAILABLE, message=answer.reason)
        return _retry_or_fail(step, result, facts, policy, retry_after=answer.retry_after_seconds)
    if step is Step.INQUIRE and facts.outcome_known and facts.attempt and facts.attempt.outcome == "action_required":
        # Only this inquiry did not arrive. The customer's code is still valid, and known to us.
        needs_review = facts.needs_review or facts.is_overdue
        result = Decision(_review_if_overdue(facts), preserve_action=True, needs_review=needs_review)
        result.due_in_seconds = _poll_seconds(facts, policy)
    else:
        result = _still_unknown(facts, policy, answer.reason, is_new_doubt=_is_unanswered(facts.attempt))
        if _is_unanswered(facts.attempt):
            result.attempt_outcome = "unknown"
    wanted = min(answer.retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS)
    result.due_in_seconds = max(result.due_in_seconds or 0, wanted)
    if step is Step.RESEND:
        # This call did nothing, and the previous one was proven not to have arrived, so the same reference may be sent again.
        # The schedule of inquiries applies, because a provider may be unavailable for hours. After expiry, it is withdrawn.
        result.attempt_outcome = "not_found"
        result.due_in_seconds = max(0, min(result.due_in_seconds, facts.seconds_left))
    return result


def _unknown(step: Step, answer: Unknown, facts: Facts, policy: RetryPolicy) -> Decision:
    if step is Step.INQUIRE:  # an inquiry moves no money, so an unanswered one is treated like one that was not sent
        return _unavailable(step, Unavailable(answer.reason), facts, policy)
    is_new_doubt = step in SENDS or _is_unanswered(facts.attempt)
    result = _still_unknown(facts, policy, answer.reason, is_new_doubt=is_new_doubt)
    if is_new_doubt or step is Step.REVERSE:
        result.attempt_outcome = "unknown"
    return result


def _not_found(step: Step, _answer: Any, facts: Facts, policy: RetryPolicy) -> Decision:
    """Decide what to do after an inquiry or withdrawal found nothing.

    Two such answers in a row, at least ``max_processing_seconds`` apart, prove that the call never arrived.
    """
    first = facts.attempt.not_found_at if facts.attempt else None
    waited = (facts.now - first).total_seconds() if first else 0.0
    if waited < 0:  # the database's clock was set back, so the times cannot be compared; count this answer as the first
        first, waited = None, 0.0
    is_new_doubt = _is_unanswered(facts.attempt)
    result = _still_unknown(facts, policy, "the provider does not know it yet", is_new_doubt=is_new_doubt)
    result.not_found = True
    is_proven = facts.attempt is not None and facts.attempt.outcome == "not_found"
    result.attempt_outcome = "not_found" if step is Step.WITHDRAW and is_proven else "unknown"
    left = policy.max_processing_seconds - waited
    if first is not None and left <= 0:
        # After a withdrawal the payment is not sent again; only the next inquiry can tell whether its call will still arrive.
        if step is not Step.WITHDRAW and (facts.deduplicates or facts.is_expired):
            result.attempt_outcome = "not_found"
            result.due_in_seconds = 0
            result.inquiries = 0  # a new call follows, so a new doubt starts the schedule from the beginning
        return result
    result.due_in_seconds = min(result.due_in_seconds or left, max(left, 0.05))
    return result


def _is_unanswered(attempt: Attempt | None) -> bool:
    """Return whether the last call has no recorded answer.

    Its worker died, or this is its first answer.
    """
    return attempt is None or attempt.outcome is None


def _still_unknown(facts: Facts, policy: RetryPolicy, reason: str, *, is_new_doubt: bool) -> Decision:
    """Decide to inquire later.

    A new doubt starts the schedule; a review is requested some time after the first doubt.
    """
    inquiries = 0 if is_new_doubt else facts.inquiries
    delay = inquiry_delay_seconds(inquiries, scale=policy.scale, spread=policy.spread())
    doubted_for = (facts.now - facts.in_doubt_since).total_seconds() if facts.in_doubt_since else 0.0
    is_too_long = doubted_for >= policy.review_after_seconds
    remark: Remark | None = Remark.DOUBT if facts.outcome_known else None
    if is_too_long and not facts.needs_review:
        remark = Remark.REQUEST_REVIEW
    return Decision(
        remark,
        due_in_seconds=delay,
        message=reason,
        outcome_known=False,
        needs_review=facts.needs_review or is_too_long,
        inquiries=inquiries + 1,
    )


_BY_ANSWER: dict[type, Callable[[Step, Any, Facts, RetryPolicy], Decision]] = {
    Succeeded: _succeeded,
    Declined: _declined,
    ActionRequired: _action_required,
    Unavailable: _unavailable,
    Unknown: _unknown,
    NotFound: _not_found,
    Withdrawn: _withdrawn,
}

_OF_A_REVERSAL = (Withdrawn, Succeeded, Unavailable, Unknown)

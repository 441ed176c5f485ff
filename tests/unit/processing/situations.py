"""Build claimed payments in any situation, and the decision for an answer, for table-driven tests."""

from datetime import UTC, datetime, timedelta

from workflows.processing.decide import RetryPolicy, decide
from workflows.processing.decision import Decision
from workflows.processing.next_step import Attempt, Facts, Step
from workflows.providers.base import (
    Answer,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


POLICY = RetryPolicy(max_processing_seconds=60, review_after_seconds=86_400, spread=lambda: 1.0)


CODE = {"type": "display_qr", "qr_content": "https://pay.example/1", "expires_at": "2026-11-23T09:05:00Z"}


OUTCOMES = (None, "succeeded", "declined", "action_required", "unavailable", "unknown", "withdrawn", "not_found")


def facts(
    outcome: str | None = None,
    *,
    number: int = 1,
    not_found_seconds_ago: float | None = None,
    doubted_hours: float | None = None,
    sent: bool = True,
    cancelled: bool = False,
    expired: bool = False,
    local: bool = False,
    reviewed: bool = False,
    inquiries: int = 0,
    resends: int = 0,
    deduplicates: bool = True,
) -> Facts:
    """Return the facts of a claimed payment of 1,000; by default it was sent once and not answered."""
    asked_at = None if not_found_seconds_ago is None else NOW - timedelta(seconds=not_found_seconds_ago)
    return Facts(
        amount=1_000,
        now=NOW,
        expires_at=NOW + timedelta(seconds=-1 if expired else 300),
        cancel_requested=cancelled,
        is_local=local,
        attempt=Attempt(number, outcome, asked_at, resends) if sent else None,
        outcome_known=doubted_hours is None,
        in_doubt_since=None if doubted_hours is None else NOW - timedelta(hours=doubted_hours),
        needs_review=reviewed,
        inquiries=inquiries,
        deduplicates=deduplicates,
    )


def decided(
    step: Step, answer: Answer | None, situation: Facts | None = None, policy: RetryPolicy = POLICY
) -> Decision:
    """Return the decision for ``answer`` to ``step``; by default the payment was sent once."""
    return decide(step, answer, facts=situation or facts(), policy=policy)

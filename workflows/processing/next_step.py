"""Choose the next step of a claimed payment or refund from its last attempt. No I/O.

``decide`` says what the provider's answer then means. Everything that can go wrong with money is decided in these two
files, so it can be read and tested in one place.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Step(StrEnum):
    """The next step of a claimed payment or refund."""

    CHARGE = "charge"  # send it: a first time, or again after a call that certainly did nothing
    RETRY = "retry"  # send the same reference again: its last call certainly did nothing
    RESEND = "resend"  # send the same reference again: it was proven not to have arrived
    INQUIRE = "inquire"  # ask the provider what became of it
    WITHDRAW = "withdraw"  # ask the provider to cancel it
    REVERSE = "reverse"  # ask the provider to undo a charge whose answer is implausible
    CANCEL = "cancel"  # cancel it locally: no provider can have moved money
    STATEMENT = "statement"  # send nothing: lines of the provider's statement are the answer


SENDS = frozenset({Step.CHARGE, Step.RETRY, Step.RESEND})
"""Steps that ask a provider to move money."""


OVERDUE = timedelta(minutes=10)
"""A provider that decides within this time is merely slow; after it, a person has to look."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last attempt of a claimed payment. ``outcome`` is ``None`` while it is unanswered.

    ``resends`` counts how often this attempt and those before it were sent again.
    """

    number: int
    outcome: str | None
    not_found_at: datetime | None = None
    resends: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about a claimed row from which ``next_step`` and ``decide`` choose."""

    amount: int
    now: datetime
    expires_at: datetime
    cancel_requested: bool
    is_local: bool
    attempt: Attempt | None
    outcome_known: bool = True
    in_doubt_since: datetime | None = None
    needs_review: bool = False
    inquiries: int = 0
    overdue_after: datetime | None = None
    """When a provider that accepted it must have decided, if that is not ``expires_at``."""
    deduplicates: bool = True
    """Whether its provider moves money only once per reference."""
    elapsed_seconds: float = 0.0
    """Time since ``now``, by the worker's monotonic clock."""

    @property
    def is_overdue(self) -> bool:
        """Whether a provider that accepted it has not decided for so long that a person has to know."""
        return self.now - OVERDUE >= (self.overdue_after or self.expires_at)

    @property
    def is_expired(self) -> bool:
        """Whether the payment may no longer be sent."""
        return self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        """Seconds until it expires."""
        return (self.expires_at - self.now).total_seconds() - self.elapsed_seconds

    @property
    def is_unwanted(self) -> bool:
        """Whether it should be withdrawn if that is still possible."""
        return self.cancel_requested or self.is_expired


NOTHING_MOVED = frozenset({"unavailable", "declined"})
"""Outcomes of an attempt after which it may be sent again, or a new attempt number be used."""


def next_step(facts: Facts) -> Step:
    """Return the next step of a claimed payment, from its last attempt.

    An attempt without an answer means that its worker died or that the answer was lost: the provider is asked about it, and it
    is never repeated. Cash and the terminal's own card application make no call, so they return their answer again. They
    report what has already happened, so neither an expiry nor a cancel prevents the report from being recorded.
    """
    attempt = facts.attempt
    if facts.is_local:
        return Step.CHARGE
    if attempt is None or attempt.outcome in NOTHING_MOVED:
        return Step.CANCEL if facts.is_unwanted else _send(facts)
    if facts.cancel_requested:
        # A plausible success has completed the payment; this one was not plausible, so the charge is reversed.
        return Step.REVERSE if attempt.outcome == "succeeded" else Step.WITHDRAW
    if facts.is_expired and attempt.outcome in WITHDRAWN_WHEN_EXPIRED:
        return Step.WITHDRAW
    return Step.RESEND if attempt.outcome == "not_found" and facts.deduplicates else Step.INQUIRE


WITHDRAWN_WHEN_EXPIRED = frozenset({"action_required", "not_found"})
"""Outcomes of an attempt that is withdrawn after ``expires_at``; any other open one is asked about first."""


def _send(facts: Facts) -> Step:
    """Reuse the reference of a call that did nothing if the provider deduplicates: its "nothing" may be untrue."""
    is_reused = facts.deduplicates and facts.attempt is not None and facts.attempt.outcome == "unavailable"
    return Step.RETRY if is_reused else Step.CHARGE

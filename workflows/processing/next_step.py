"""Choose the next step of a claimed payment or refund from its last attempt. No I/O.

``decide`` then interprets the provider's answer. These two modules make every decision about money that is not certain, so the
decisions can be read and tested in one place.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Step(StrEnum):
    """The next step of a claimed payment or refund."""

    CHARGE = "charge"  # send it for the first time, or as a new attempt after a call that certainly did nothing
    RETRY = "retry"  # send the same reference again, because its last call certainly did nothing
    RESEND = "resend"  # send the same reference again, because it was proven not to have arrived
    INQUIRE = "inquire"  # ask the provider what became of it
    WITHDRAW = "withdraw"  # ask the provider to cancel it
    REVERSE = "reverse"  # ask the provider to undo a charge whose answer is implausible
    CANCEL = "cancel"  # cancel it locally, because no provider can have moved money
    STATEMENT = "statement"  # send nothing, because lines of the provider's statement are the answer


SENDS = frozenset({Step.CHARGE, Step.RETRY, Step.RESEND})
"""Steps that ask a provider to move money."""


OVERDUE = timedelta(minutes=10)
"""How long a provider may exceed its deadline for a decision before a person has to review the row."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last attempt of a claimed row. ``outcome`` is ``None`` while the attempt is unanswered.

    ``resends`` counts how often this attempt and the previous attempts were sent again.
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
    """When a provider that accepted the row must have decided; ``None`` if that is ``expires_at``."""
    deduplicates: bool = True
    """Whether the row's provider moves money only once per reference."""
    elapsed_seconds: float = 0.0
    """Time since ``now``, by the worker's monotonic clock."""

    @property
    def is_overdue(self) -> bool:
        """Whether a provider that accepted the row has not decided for so long that a person has to review it."""
        return self.now - OVERDUE >= (self.overdue_after or self.expires_at)

    @property
    def is_expired(self) -> bool:
        """Whether the row has expired, so that it must not be sent any more."""
        return self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        """Seconds until the row expires; negative if it has expired."""
        return (self.expires_at - self.now).total_seconds() - self.elapsed_seconds

    @property
    def is_unwanted(self) -> bool:
        """Whether the row should be withdrawn if that is still possible.

        ``PaymentWorkload.unwanted`` is the same in SQL.
        """
        return self.cancel_requested or self.is_expired


NOTHING_MOVED = frozenset({"unavailable", "declined"})
"""Outcomes of an attempt that moved no money. The row may be sent again, under the same or a new attempt number."""


def next_step(facts: Facts) -> Step:
    """Return the next step of a claimed payment or refund, from its last attempt.

    If an attempt has no answer, its worker died or the answer was lost. The provider is asked about such an attempt, which is
    never repeated. For cash and the terminal's own card application no call is made, so their answer is computed again. They
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
"""Outcomes of attempts to withdraw after ``expires_at``. The provider is asked about any other open attempt first."""


def _send(facts: Facts) -> Step:
    """Return the step that sends the row.

    A reference is reused if its call did nothing and the provider deduplicates. Reusing it is safer than a new one,
    because the provider may be wrong about having done nothing.
    """
    is_reused = facts.deduplicates and facts.attempt is not None and facts.attempt.outcome == "unavailable"
    return Step.RETRY if is_reused else Step.CHARGE

"""Next step: what a claimed payment or refund needs, decided from its last attempt, without any I/O.

What the provider's answer then means says ``verdict``. Everything that can go wrong with money is decided in these two
files, so it can be read and tested in one place.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Step(StrEnum):
    """What a claimed payment needs."""

    CHARGE = "charge"  # send it (a first time, or again after a call that certainly did nothing)
    RESEND = "resend"  # send the same reference again: it was proven not to have arrived
    ASK = "ask"  # ask what became of it
    WITHDRAW = "withdraw"  # ask the provider to cancel it
    CANCEL = "cancel"  # cancel it here: no provider can have moved money


OVERDUE = timedelta(minutes=10)
"""What is over after this long is merely slow; beyond it, somebody has to look."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last attempt of a claimed payment. ``outcome`` is ``None`` while it is unanswered."""

    number: int
    outcome: str | None
    not_found_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What ``next_step`` and ``verdict`` need to know of a claimed payment."""

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
    patient_until: datetime | None = None
    """Until when a provider that took it on may let it wait, where that is not ``expires_at``."""

    @property
    def is_overdue(self) -> bool:
        """Whether a provider that took it on lets it wait for longer than a person should know nothing of."""
        return self.now - OVERDUE >= (self.patient_until or self.expires_at)

    @property
    def is_expired(self) -> bool:
        """Whether the terminal's patience with this payment is over."""
        return self.now >= self.expires_at

    @property
    def is_unwanted(self) -> bool:
        """Whether it should be withdrawn if that is still possible."""
        return self.cancel_requested or self.is_expired


NOTHING_MOVED = frozenset({"unavailable", "declined"})
"""Outcomes of an attempt after which a new attempt number may be used."""


def next_step(facts: Facts) -> Step:
    """What a claimed payment needs, from its last attempt.

    An attempt without an answer means that its worker died or that the answer was lost: it is asked about, never
    repeated. Only cash and the terminal's own card application ask nobody, so they simply give their answer again.
    """
    attempt = facts.attempt
    if attempt is None or attempt.outcome in NOTHING_MOVED:
        return Step.CANCEL if facts.is_unwanted else Step.CHARGE
    if facts.is_local:
        return Step.CHARGE
    if facts.cancel_requested or (facts.is_expired and attempt.outcome == "action_required"):
        return Step.WITHDRAW
    return Step.RESEND if attempt.outcome == "not_found" else Step.ASK

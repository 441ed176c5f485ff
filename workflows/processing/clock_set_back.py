"""Recognise due times and leases that were written before the database's clock was set back.

A row that was due at 15:00:02 by a clock an hour fast would wait for an hour. The longest wait follows from the row's state,
so a row that is due later than that is processed now. Breaking such a lease early is safe: the provider is asked about an
unanswered attempt, which is never repeated, and the fence prevents its first owner from recording anything.
"""

from workflows.processing.decide import (
    DAY,
    HOUR,
    HOURLY_INQUIRIES,
    INQUIRY_DELAYS_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
)

SLACK = 1.25
"""Delays are spread by a fifth, and a row is written a moment after its delay was computed."""

LEASE_SLACK = 2
"""Workers of two releases may have different leases."""


def _waits() -> str:
    """Return SQL for the longest wait, in seconds, of a row ``r`` in ``processing`` without a lease."""
    last = len(INQUIRY_DELAYS_SECONDS)
    soon = sum(1 for delay in INQUIRY_DELAYS_SECONDS if delay <= MAX_RETRY_AFTER_SECONDS)
    limits = [
        ("r.outcome_known", MAX_RETRY_AFTER_SECONDS),
        (f"r.inquiries <= {soon}", MAX_RETRY_AFTER_SECONDS),
        (f"r.inquiries <= {last}", INQUIRY_DELAYS_SECONDS[-1]),
        (f"r.inquiries <= {last + HOURLY_INQUIRIES}", HOUR),
    ]
    cases = " ".join(f"WHEN {condition} THEN {SLACK * seconds}" for condition, seconds in limits)
    return f"CASE {cases} ELSE {SLACK * DAY} END"


LEASE_AHEAD = f"r.lease_until > now() + make_interval(secs => {LEASE_SLACK} * :lease)"
"""SQL: whether no worker can have set this lease. ``lease`` is bound to its seconds."""

_WAIT_AHEAD = f"r.due_at > now() + make_interval(secs => {_waits()})"
DUE_AHEAD = f"(CASE WHEN r.lease_until IS NULL THEN {_WAIT_AHEAD} ELSE {LEASE_AHEAD} END)"
"""SQL: the same for the due time of a row in ``processing``."""

"""Define how long a row waits until it is due again, and the SQL that finds rows which wait longer than any such delay.

A row waits too long if it was written before the database's clock was set back: if the clock was an hour fast, a row that was
due in two seconds would now wait for an hour. The longest possible delay follows from the state of a row, so a row that is due
later than that is processed now. Breaking its lease early is safe: the provider is asked about an unanswered attempt, which is
never repeated, and the fence prevents the first owner of the lease from recording anything.
"""

MAX_RETRY_AFTER_SECONDS = 300  # longest wait that a provider's Retry-After can impose
POLL_SECONDS = 2.5  # interval of inquiries about a pending QR code: providers advise every 2-3 s
OVERDUE_POLL_SECONDS = 60.0  # after a review was requested: each inquiry is stored, and some providers never decide

INQUIRY_DELAYS_SECONDS = (2, 5, 15, 30, 60, 120, 300, 900)
"""Delays before inquiries about an unknown outcome (behaviour §5); then hourly for a day, then daily."""

HOUR, DAY = 3_600, 86_400
HOURLY_INQUIRIES = 24

SLACK = 1.25
"""Factor on a delay when it is checked: delays are spread by a fifth, and a row is written after its delay was computed."""

LEASE_SLACK = 2
"""Factor on a lease when it is checked: workers of two releases may have different leases."""


def inquiry_delay_seconds(inquiries: int, *, scale: float = 1.0, spread: float = 1.0) -> float:
    """Return the seconds until the next inquiry, after ``inquiries`` inquiries."""
    if inquiries < len(INQUIRY_DELAYS_SECONDS):
        return INQUIRY_DELAYS_SECONDS[inquiries] * scale * spread
    return (HOUR if inquiries < len(INQUIRY_DELAYS_SECONDS) + HOURLY_INQUIRIES else DAY) * scale * spread


def retry_delay_seconds(attempt: int, *, retry_after: float | None, spread: float) -> float:
    """Return the seconds until the next attempt.

    The delay is 0.5, 1, 2, 4, 8 s, or a longer ``retry_after`` of at most 5 min.
    """
    backoff: float = 0.5 * 2 ** (attempt - 1)
    return max(backoff * spread, min(retry_after or 0, MAX_RETRY_AFTER_SECONDS))


def _longest_delay() -> str:
    """Return SQL for the longest delay, in seconds, of a row ``r`` in ``processing`` without a lease."""
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
"""SQL condition: the lease of ``r`` ends later than any worker could have set it. ``:lease`` is a lease in seconds."""

_WAIT_AHEAD = f"r.due_at > now() + make_interval(secs => {_longest_delay()})"
DUE_AHEAD = f"(CASE WHEN r.lease_until IS NULL THEN {_WAIT_AHEAD} ELSE {LEASE_AHEAD} END)"
"""SQL condition: the row ``r`` in ``processing`` is due later than any delay or lease could have set it."""

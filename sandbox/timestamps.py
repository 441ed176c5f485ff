"""Timestamps: integer microseconds since 1970 internally, RFC 3339 in UTC in the API.

Integers sort and compare in SQLite without parsing. Floats are never used, because they would round the bounds of a period.
"""

import time
from datetime import UTC, date, datetime, timedelta, timezone

from sandbox.errors import bad_request_error

MICROSECONDS_PER_MILLISECOND = 1_000
MICROSECONDS_PER_SECOND = 1_000_000
PAYOUT_ZONE = timezone(timedelta(hours=9))  # the acquirer pays out by Japanese banking days; Japan has no summer time
PAYOUT_DELAY_DAYS = 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """Return the machine's current time in microseconds. ``sandbox.clock`` adds its offset to it."""
    return time.time_ns() // 1_000


def to_text(instant: int) -> str:
    """Format as RFC 3339 with six decimals, so that texts sort like timestamps."""
    moment = EPOCH + timedelta(microseconds=instant)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")  # takes a fifth of strftime's time


def from_text(text: str, *, name: str) -> int:
    """Parse RFC 3339 with an offset. Raises Refused (400), with the parameter's ``name`` in the message."""
    try:
        # A "+" that was not percent-encoded arrives as a space; a valid timestamp has none there.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise bad_request_error(f"{name} must be an RFC 3339 timestamp") from None
    if moment.tzinfo is None:
        raise bad_request_error(f"{name} must have an offset, such as Z or +09:00")
    return (moment - EPOCH) // timedelta(microseconds=1)


def payout_date(instant: int) -> date:
    """Return the Japanese date on which a movement is paid out."""
    moment = EPOCH + timedelta(microseconds=instant)
    return moment.astimezone(PAYOUT_ZONE).date() + timedelta(days=PAYOUT_DELAY_DAYS)

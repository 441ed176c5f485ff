"""Instants: whole microseconds since 1970 inside, RFC 3339 in UTC outside.

Integers sort and compare in the store without parsing, and no float ever rounds a period's edge.
"""

import time
from datetime import UTC, date, datetime, timedelta, timezone

from sandbox.errors import bad_request

MICROSECONDS_PER_MILLISECOND = 1_000
MICROSECONDS_PER_SECOND = 1_000_000
PAYOUT_ZONE = timezone(timedelta(hours=9))  # the acquirer keeps Japanese banking days; Japan has no summer time
PAYOUT_DELAY_DAYS = 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """The present instant in microseconds by the machine's clock, which ``sandbox.clock`` builds on."""
    return time.time_ns() // 1_000


def to_text(instant: int) -> str:
    """RFC 3339, always with six decimals so that texts sort like instants."""
    moment = EPOCH + timedelta(microseconds=instant)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")  # a fifth of strftime's time


def from_text(text: str, *, name: str) -> int:
    """Read RFC 3339 with an offset; ``name`` is the parameter to blame. Raises Refused (400)."""
    try:
        # A "+" that was not percent-encoded arrives as a space; no valid instant has one there.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise bad_request(f"{name} must be an RFC 3339 instant") from None
    if moment.tzinfo is None:
        raise bad_request(f"{name} must carry an offset, such as Z or +09:00")
    return (moment - EPOCH) // timedelta(microseconds=1)


def settled_on(instant: int) -> date:
    """The Japanese day on which a movement is paid out."""
    moment = EPOCH + timedelta(microseconds=instant)
    return moment.astimezone(PAYOUT_ZONE).date() + timedelta(days=PAYOUT_DELAY_DAYS)

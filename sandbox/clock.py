"""The provider's clock: the machine's own, and as far ahead of it as it was told.

With it a story of several days takes seconds, as with the test clocks of other providers. It is never set back, it goes on
ticking, and it is kept in the store: no movement is ever dated before an earlier one, be it after a restart.
"""

from sandbox import times
from sandbox.errors import bad_request
from sandbox.store import Store
from sandbox.times import MICROSECONDS_PER_SECOND

MAX_AHEAD_SECONDS = 20 * 366 * 86_400  # farther than any story, and well within what a date can hold
AHEAD = "SELECT ahead_seconds FROM clock"
MOVE = (
    "INSERT INTO clock (id, ahead_seconds) VALUES (1, ?)"
    " ON CONFLICT (id) DO UPDATE SET ahead_seconds = excluded.ahead_seconds"
)


class Clock:
    """What everything in the provider is dated by; only signatures carry the machine's own time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        rows = store.query(AHEAD)
        self.ahead_seconds: int = rows[0][0] if rows else 0

    def now(self) -> int:
        """The present instant in microseconds."""
        return times.now() + self.ahead_seconds * MICROSECONDS_PER_SECOND

    def move(self, ahead_seconds: int) -> None:
        """Be so far ahead from now on; safe once the store is durable. Raises Refused (400) for a step back."""
        if ahead_seconds < self.ahead_seconds:
            raise bad_request(f"ahead_seconds must be at least {self.ahead_seconds}: the clock is never set back")
        self._store.write(MOVE, (ahead_seconds,))
        self.ahead_seconds = ahead_seconds

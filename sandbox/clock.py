"""The provider's clock: the machine's clock, moved ahead by a stored offset.

A scenario of several days then takes seconds, as with the test clocks of other providers. The clock keeps ticking and is
never set back. The offset is stored, so that even after a restart no movement is dated before an earlier one.
"""

from sandbox import timestamps
from sandbox.errors import bad_request_error
from sandbox.sqlite_storage import SqliteStorage
from sandbox.timestamps import MICROSECONDS_PER_SECOND

MAX_AHEAD_SECONDS = 20 * 366 * 86_400  # longer than any scenario, and well within the range of a date
AHEAD = "SELECT ahead_seconds FROM clock"
MOVE = (
    "INSERT INTO clock (id, ahead_seconds) VALUES (1, ?)"
    " ON CONFLICT (id) DO UPDATE SET ahead_seconds = excluded.ahead_seconds"
)


class Clock:
    """The sandbox's clock.

    Every timestamp is taken from it except that of a webhook's signature, which is the machine's time.
    """

    def __init__(self, storage: SqliteStorage) -> None:
        self._store = storage
        rows = storage.query(AHEAD)
        self.ahead_seconds: int = rows[0][0] if rows else 0

    def now(self) -> int:
        """Return the current time in microseconds since 1970."""
        return timestamps.now() + self.ahead_seconds * MICROSECONDS_PER_SECOND

    def move(self, ahead_seconds: int) -> None:
        """Set the offset, which is durable after ``storage.durable()``.

        Raises Refused (400) if the clock would be set back.
        """
        if ahead_seconds < self.ahead_seconds:
            raise bad_request_error(f"ahead_seconds must be at least {self.ahead_seconds}: the clock is never set back")
        self._store.write(MOVE, (ahead_seconds,))
        self.ahead_seconds = ahead_seconds

"""Return the time of the process's clock. Nothing else in the product reads the time of the machine.

Only the validity of tokens and assertions depends on it. The database's clock decides every time that is stored in a row and
every time that several machines must agree on (leases, due times, settlement periods), with one timestamp per transaction
(docs/decisions/0030).
"""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)

"""The one clock of the product.

The life of tokens and assertions goes by it, and nothing else: every date in a row and what machines must agree on (leases,
due times, settlement periods) is decided by the database's clock, one instant per transaction (docs/decisions/0030).
"""

from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, in UTC."""
    return datetime.now(UTC)

"""The one clock of the product.

``now`` is read once per transaction and passed down, so that one change has one instant and tests can freeze it. What
machines must agree on (leases, due times, settlement periods) is decided by the database's clock instead.
"""

from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, in UTC."""
    return datetime.now(UTC)

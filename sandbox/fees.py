"""The acquirer's fee: 3.24 % of a charge, rounded half up to whole minor units.

A refund costs nothing, and the fee of its charge is not returned. A reversal undoes its charge completely, fee included.
Both are common among Japanese acquirers, and both are visible in the statement.
"""

RATE_PER_TEN_THOUSAND = 324
TEN_THOUSAND = 10_000


def charge_fee(amount: int) -> int:
    """Return the fee for a charge of ``amount`` minor units, in exact integer arithmetic."""
    return (amount * RATE_PER_TEN_THOUSAND + TEN_THOUSAND // 2) // TEN_THOUSAND


def refund_fee(_amount: int) -> int:
    """Return 0. A function, so that the fees of charges and refunds can be looked up in one table."""
    return 0

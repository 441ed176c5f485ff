"""What the acquirer keeps: 3.24 % of a charge, half up, in whole minor units.

A refund costs nothing and brings nothing back (the fee of its charge stays kept); a reversal undoes its charge
altogether, fee included. Both are what Japanese acquirers commonly do, and both are visible in the statement.
"""

RATE_PER_TEN_THOUSAND = 324
TEN_THOUSAND = 10_000


def charge_fee(amount: int) -> int:
    """The fee for charging ``amount`` minor units; integers only, so that it can be checked by hand."""
    return (amount * RATE_PER_TEN_THOUSAND + TEN_THOUSAND // 2) // TEN_THOUSAND


def refund_fee(_amount: int) -> int:
    """Nothing; a function so that both kinds of movement can be looked up in one table."""
    return 0

"""Handwritten sequences: the beginning of each random sequence, and one that takes every transition.

The transitions are those of orders, bills, payments and refunds.
"""

from tests.integration.sequences.shop import Step

BEGINNING = (
    Step("order", which=1, much=3),
    Step("bill"),
    Step("pay", way=3),
    Step("work"),
)
"""Pays half of a bill. Without this beginning, most random steps would find no row to act on."""

TOUR = (
    # the rest is paid, which pays bill and order; everything is refunded, and the order cancelled
    Step("pay"),
    Step("work"),
    Step("refund", way=1),
    Step("give back"),
    Step("refund", way=1),
    Step("give back"),
    Step("cancel order"),
    # a draft order and an open order are cancelled
    Step("order", much=3, way=2),
    Step("cancel order"),
    Step("order", much=3),
    Step("cancel order"),
    # a bill is voided and created again, paid at once, and its order completed
    Step("order", much=3),
    Step("bill"),
    Step("void"),
    Step("bill"),
    Step("pay"),
    Step("work"),
    Step("complete"),
    # half is paid and refunded; then one charge is declined, and another payment cancelled
    Step("order", much=3),
    Step("bill"),
    Step("pay", way=3),
    Step("work"),
    Step("refund", way=1),
    Step("give back"),
    Step("pay"),
    Step("work", fate="decline"),
    Step("pay"),
    Step("cancel"),
    # a refund of the payment of the full bill is declined
    Step("refund", way=1),
    Step("give back", fate="decline"),
)
"""After ``BEGINNING``: every transition. The test checks that each step does what its comment says."""

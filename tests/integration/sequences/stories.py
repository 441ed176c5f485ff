"""Handwritten sequences: the beginning of each random one, and one that takes every edge of the four tables."""

from tests.integration.sequences.shop import Step

BEGINNING = (
    Step("order", which=1, much=3),
    Step("bill"),
    Step("pay", way=3),
    Step("work"),
)
"""Half of a bill is paid. Without it, most random steps would have no row to be tried on."""

TOUR = (
    # the rest is paid: bill and order are; all is given back, and the order withdrawn
    Step("pay"),
    Step("work"),
    Step("refund", way=1),
    Step("give back"),
    Step("refund", way=1),
    Step("give back"),
    Step("cancel order"),
    # a draft and an open order are withdrawn
    Step("order", much=3, way=2),
    Step("cancel order"),
    Step("order", much=3),
    Step("cancel order"),
    # a bill is voided and made again, paid at once, and its order fulfilled
    Step("order", much=3),
    Step("bill"),
    Step("void"),
    Step("bill"),
    Step("pay"),
    Step("work"),
    Step("complete"),
    # half is paid and given back, then a charge is declined and another one withdrawn
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
    # of the one that was paid at once a refund is declined
    Step("refund", way=1),
    Step("give back", fate="decline"),
)
"""After ``BEGINNING``: every edge. The test checks that each step does what its comment says."""

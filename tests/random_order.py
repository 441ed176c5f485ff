"""``--shuffle SEED``: the same tests in another order, modules and the tests within each; a seed is an order.

A test that passes only after its neighbour passes by luck: which process runs which module changes with every run. Tests of
one module stay together, because they share the stack that they need.
"""

import random
from collections import defaultdict

import pytest


def add_option(parser: pytest.Parser) -> None:
    """Declare ``--shuffle``."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in the order of this seed")


def shuffle(items: list[pytest.Item], *, seed: int) -> None:
    """Put ``items`` into the order of ``seed``, in place; the same in every process of one run."""
    chance = random.Random(seed)
    modules: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        modules[item.nodeid.partition("::")[0]].append(item)
    groups = list(modules.values())
    chance.shuffle(groups)
    for group in groups:
        chance.shuffle(group)
    items[:] = [item for group in groups for item in group]

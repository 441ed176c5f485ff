"""``--shuffle SEED``: run the modules, and the tests of each module, in a random order that the seed determines.

If a test passes only because another test ran before it, its success is luck: which modules share a process differs from run
to run. Tests of one module stay together, because they share a stack.
"""

import random
from collections import defaultdict

import pytest


def add_option(parser: pytest.Parser) -> None:
    """Declare the option ``--shuffle``."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in the order of this seed")


def shuffle(items: list[pytest.Item], *, seed: int) -> None:
    """Sort ``items`` in place by the random order of ``seed``.

    The order is the same in every process of a run.
    """
    chance = random.Random(seed)
    modules: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        modules[item.nodeid.partition("::")[0]].append(item)
    groups = list(modules.values())
    chance.shuffle(groups)
    for group in groups:
        chance.shuffle(group)
    items[:] = [item for group in groups for item in group]

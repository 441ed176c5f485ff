"""With ``-n 4 --dist loadgroup``, one process runs all tests that share a stack; other tests are grouped by module.

xdist's own groups have no effect: it appends a group to the node id of a test, and pytest 9.1 ignores that.
"""

from importlib import import_module
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

CHAOS, E2E = "tests/chaos/", "tests/e2e/"
OWN_STACK_PER_MODULE = ("tests/e2e/test_guides.py",)
OWN_STACK_PER_TEST = ("tests/e2e/test_demo.py",)


def group_of(node_id: str) -> str:
    """Return the name of the group of tests that one process has to run."""
    path = node_id.partition("::")[0]
    if path in OWN_STACK_PER_TEST:
        return node_id
    if path in OWN_STACK_PER_MODULE or not path.startswith((CHAOS, E2E)):
        return path
    if path.startswith(E2E):
        return E2E
    kind_of = import_module("tests.chaos.conftest").kind_of
    return str(kind_of(import_module(path.removesuffix(".py").replace("/", "."))))


class StackGroups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Give the tests of a group to the same process."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> StackGroups | None:
    """Return the scheduler for ``--dist loadgroup``."""
    return StackGroups(config, log) if config.getoption("dist") == "loadgroup" else None

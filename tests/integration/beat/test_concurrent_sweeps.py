"""Concurrent sweeps in threads of one worker do not interfere with each other."""

import importlib
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from mpac.stack.local_stack import LocalStack
from workflows.processing.due import DueRow

MANY, AT_ONCE = 20_000, 8
LONG_AGO = datetime(2026, 1, 28, tzinfo=UTC)


@pytest.fixture
def sweeps(stack: LocalStack) -> Iterator[Any]:
    """Yield the sweeps module while Python switches threads as often as possible."""
    found = importlib.import_module("beat.sweeps")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield found
    sys.setswitchinterval(before)
    found._nudged.clear()


def test_concurrent_sweeps_can_forget_their_nudges(sweeps: Any) -> None:
    for _ in range(5):
        sweeps._nudged.update((DueRow(f"pay_{n}", LONG_AGO, "retry"), time.monotonic() - 1) for n in range(MANY))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for sweep in [pool.submit(sweeps._nudge, "payments.process", []) for _ in range(AT_ONCE)]:
                sweep.result()
        assert sweeps._nudged == {}

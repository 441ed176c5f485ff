"""Repeat attempts whose failure may be transient, and wait for conditions.

It follows the rule for terminals (docs/terminal.md): while the outcome of a request is unknown, or the server refused it for
now, the same request is sent again after growing pauses, and not before ``Retry-After``. Giving up says nothing about the
product, because an overloaded machine causes it as well. So ``TimedOut`` is counted apart from broken rules.
"""

import random
import time
from asyncio import sleep
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

WITHIN_SECONDS = 180.0  # several times the longest time seen on a machine with a load of four per core
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
SPREAD = 1.25  # pauses are up to this much longer, so that thirty terminals do not return at the same moment
POLL_SECONDS = 0.15
MOST_SHOWN = 300  # characters of the last value seen


class TransientFailure(Exception):
    """An attempt that may succeed when repeated. ``pause_seconds`` is how long the server asks to wait."""

    def __init__(self, reason: str, *, pause_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


class TimedOut(Exception):
    """Something did not finish in time. ``counted`` is the noun under which the summary counts it."""

    def __init__(self, sentence: str, *, counted: str) -> None:
        super().__init__(sentence)
        self.counted = counted


async def retry_until_answered(
    attempt: Callable[[], Awaitable[T]], *, what: str, counted: str = "request", within: float = WITHIN_SECONDS
) -> T:
    """Run ``attempt`` until it does not raise ``TransientFailure``, and return its result.

    Raises ``TimedOut``.
    """
    deadline = time.monotonic() + within
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await attempt()
        except TransientFailure as failure:
            wait = max(pause, failure.pause_seconds) * random.uniform(1, SPREAD)  # noqa: S311 - spreads load, guards nothing
            if time.monotonic() + wait > deadline:
                raise TimedOut(
                    f"{what}: no result within {within:.3g} s, at last {failure}", counted=counted
                ) from failure
        await sleep(wait)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def wait_until(
    read: Callable[[], Awaitable[T]],
    is_done: Callable[[T], bool],
    *,
    what: str,
    counted: str,
    within: float = WITHIN_SECONDS,
    every: float = POLL_SECONDS,
) -> T:
    """Call ``read`` until ``is_done`` accepts its value, and return that. Raises ``TimedOut``."""
    deadline = time.monotonic() + within
    while True:
        try:
            found = await read()
        except TimedOut as late:
            raise TimedOut(f"{what}: {late}", counted=counted) from late
        if is_done(found):
            return found
        if time.monotonic() > deadline:
            raise TimedOut(f"{what}: not within {within:.3g} s, at last {str(found)[:MOST_SHOWN]}", counted=counted)
        await sleep(every)

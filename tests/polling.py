"""Wait in tests for observable state, never for a fixed time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg.rows import DictRow

DEADLINE_SECONDS = 10.0
GENEROUS_SECONDS = 20.0  # for processes: their start takes half a second, and much longer on a busy machine
HANGS_AFTER_SECONDS = 600.0
"""Timeout for programs that exit on their own. It guards against hangs only; it is not a speed limit."""

STEP_SECONDS = 0.01

Seen = TypeVar("Seen")


async def eventually(
    look: Callable[[], Awaitable[Seen]], *, until: Callable[[Seen], bool], within: float = DEADLINE_SECONDS
) -> Seen:
    """Call ``look`` until its result satisfies ``until``, and return that result.

    If time runs out, fail with the last result.
    """
    deadline = time.monotonic() + within
    seen = await look()
    while not until(seen):
        assert time.monotonic() < deadline, f"not within {within} s; last seen: {seen}"
        await asyncio.sleep(STEP_SECONDS)
        seen = await look()
    return seen


async def until(fact: Callable[[], bool], *, within: float = GENEROUS_SECONDS) -> None:
    """Wait until ``fact()`` is true; fail after ``within`` seconds."""

    async def look() -> bool:
        return fact()

    await eventually(look, until=bool, within=within)


def is_plausible_remainder(seconds: float, lowest: float, highest: float, *, since: float) -> bool:
    """Return whether ``seconds`` can remain of a delay that started after ``since``.

    The delay is ``lowest`` to ``highest`` seconds long. ``since`` is a value of ``time.monotonic()``. On a busy
    machine, all the time since then may have elapsed from the delay.
    """
    return lowest - (time.monotonic() - since) <= seconds <= highest


async def wait_until_blocked_by(
    holder: psycopg.AsyncConnection[Any], *, seen_by: psycopg.AsyncConnection[DictRow]
) -> None:
    """Wait until another connection waits for a lock that ``holder`` has.

    It reads ``pg_locks``, because ``pg_stat_activity`` does not change within a transaction.
    """
    query = "SELECT pid FROM pg_locks WHERE NOT granted AND %s = ANY(pg_blocking_pids(pid))"

    async def waiting() -> list[DictRow]:
        return await (await seen_by.execute(query, [holder.info.backend_pid])).fetchall()

    await eventually(waiting, until=bool)

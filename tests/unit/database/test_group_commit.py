"""Group commit flushes a lone item at once and concurrent items together, and isolates one item's failure from the others."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.polling import GENEROUS_SECONDS
from workflows.database.group_commit import GroupCommit, KeyedGroupCommit
from workflows.errors import ServiceUnavailable

Results = list[str | BaseException]


def bracketed(items: list[int]) -> Results:
    """Return the default results of a flush: each item in angle brackets."""
    return [f"<{item}>" for item in items]


class Flushes:
    """A flush function that records each group; it blocks while ``gate`` is not set."""

    def __init__(self, answer: Callable[[list[int]], Results] | None = None) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._answer = answer or bracketed

    async def __call__(self, items: list[int]) -> Results:
        self.groups.append(items)
        await self.gate.wait()
        return self._answer(items)


async def settle() -> None:
    """Let the event loop run all tasks that are ready."""
    for _ in range(5):
        await asyncio.sleep(0)


def put_all(group_commit: GroupCommit[int, str], count: int) -> list[asyncio.Task[str]]:
    return [asyncio.ensure_future(group_commit.put(number)) for number in range(count)]


async def test_a_lone_item_is_flushed_at_once_in_a_group_of_its_own() -> None:
    flushes = Flushes()
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=10)
    assert await group_commit.put(7) == "<7>"
    assert flushes.groups == [[7]]


async def test_items_that_arrive_during_a_flush_form_the_next_group() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=10)
    first = asyncio.ensure_future(group_commit.put(0))
    await settle()
    others = [asyncio.ensure_future(group_commit.put(number)) for number in (1, 2, 3)]
    await settle()
    assert flushes.groups == [[0]]
    flushes.gate.set()
    assert await asyncio.gather(first, *others) == ["<0>", "<1>", "<2>", "<3>"]
    assert flushes.groups == [[0], [1, 2, 3]]


async def test_groups_do_not_exceed_their_limit_and_preserve_the_order() -> None:
    flushes = Flushes()
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=4)
    assert await asyncio.gather(*put_all(group_commit, 10)) == [f"<{number}>" for number in range(10)]
    assert max(map(len, flushes.groups)) <= 4
    assert [item for group in flushes.groups for item in group] == list(range(10))


async def test_concurrent_flushes_are_limited() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=1, concurrency=2)
    tasks = put_all(group_commit, 5)
    await settle()
    assert len(flushes.groups) == 2
    flushes.gate.set()
    await asyncio.gather(*tasks)
    assert len(flushes.groups) == 5


async def test_an_error_result_is_raised_only_to_its_own_caller() -> None:
    group_commit: GroupCommit[int, str] = GroupCommit(
        Flushes(lambda items: [ValueError("mine") if item == 1 else "good" for item in items]), limit=10
    )
    results = await asyncio.gather(*put_all(group_commit, 3), return_exceptions=True)
    assert [str(result) for result in results] == ["good", "mine", "good"]


async def test_a_failed_flush_fails_its_whole_group_and_no_other_group() -> None:
    def answer(items: list[int]) -> Results:
        if 0 in items:
            raise OSError("gone")
        return ["good" for _ in items]

    group_commit: GroupCommit[int, str] = GroupCommit(Flushes(answer), limit=2)
    results = await asyncio.gather(*put_all(group_commit, 4), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError, str, str]


class Refused(Exception):
    """The error of a database when one row of a group is invalid."""


async def test_a_refused_group_is_flushed_item_by_item_and_only_the_invalid_item_fails() -> None:
    def answer(items: list[int]) -> Results:
        if 3 in items:
            raise Refused("3 is bad")
        return bracketed(items)

    flushes = Flushes(answer)
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=5, split_on=(Refused,))
    results = await asyncio.gather(*put_all(group_commit, 7), return_exceptions=True)
    assert [str(result) for result in results] == ["<0>", "<1>", "<2>", "3 is bad", "<4>", "<5>", "<6>"]
    assert flushes.groups == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4], [5, 6]]


async def test_items_of_a_divided_group_are_flushed_even_after_an_earlier_item_failed() -> None:
    def answer(items: list[int]) -> Results:
        if len(items) > 1:
            raise Refused("one of these is bad")
        if 0 in items:
            raise OSError("gone")
        return bracketed(items)

    group_commit: GroupCommit[int, str] = GroupCommit(Flushes(answer), limit=3, split_on=(Refused,))
    results = await asyncio.gather(*put_all(group_commit, 3), return_exceptions=True)
    assert [str(result) for result in results] == ["gone", "<1>", "<2>"]


async def test_a_cancelled_caller_stops_neither_the_flush_nor_other_callers() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=10)
    gone, stays = asyncio.ensure_future(group_commit.put(1)), asyncio.ensure_future(group_commit.put(2))
    await settle()
    gone.cancel()
    await settle()
    flushes.gate.set()
    assert await stays == "<2>"
    assert gone.cancelled()
    assert flushes.groups == [[1, 2]]
    assert await group_commit.put(3) == "<3>"


async def test_callers_time_out_and_items_not_started_by_then_are_dropped() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=1, timeout_seconds=0.01)
    told = await asyncio.gather(*put_all(group_commit, 3), return_exceptions=True)
    assert [type(error) for error in told] == [ServiceUnavailable] * 3
    assert flushes.groups == [[0]]
    flushes.gate.set()
    await settle()
    assert await group_commit.put(7) == "<7>"
    assert flushes.groups == [[0], [7]]


async def test_a_timeout_raised_by_the_flush_reaches_the_caller_unchanged() -> None:
    group_commit: GroupCommit[int, str] = GroupCommit(
        Flushes(lambda items: [TimeoutError("mine")]), limit=1, timeout_seconds=30
    )
    with pytest.raises(TimeoutError, match="mine"):
        await group_commit.put(1)


@pytest.mark.parametrize("concurrency", [1, 2, 3])
async def test_no_item_is_lost_or_duplicated_under_load(concurrency: int) -> None:
    seen: list[int] = []

    async def flush(items: list[int]) -> Results:
        await asyncio.sleep(0)
        seen.extend(items)
        return [str(item) for item in items]

    slow: Callable[[list[int]], Awaitable[Results]] = flush
    group_commit: GroupCommit[int, str] = GroupCommit(slow, limit=7, concurrency=concurrency)
    results = await asyncio.gather(*put_all(group_commit, 500))
    assert results == [str(number) for number in range(500)]
    assert sorted(seen) == list(range(500))


async def test_items_waiting_for_a_busy_key_do_not_delay_other_keys() -> None:
    busy = asyncio.Event()
    groups: list[list[str]] = []

    async def flush(items: list[str]) -> Results:
        groups.append(items)
        if items[0].startswith("busy"):
            await busy.wait()
        return [*items]

    by_key: KeyedGroupCommit[str, str] = KeyedGroupCommit(flush, limit=10)
    waiting = [asyncio.ensure_future(by_key.put("busy", f"busy {number}")) for number in range(3)]
    await settle()
    assert await by_key.put("free", "free 1") == "free 1"
    busy.set()
    assert await asyncio.gather(*waiting) == ["busy 0", "busy 1", "busy 2"]
    assert groups == [["busy 0", "busy 1", "busy 2"], ["free 1"]]
    assert not by_key._by_key
    assert not by_key._waiting


async def test_a_failed_flush_reaches_the_other_callers_after_one_was_cancelled() -> None:
    def answer(items: list[int]) -> Results:
        raise OSError("gone")

    flushes = Flushes(answer)
    flushes.gate.clear()
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=10)
    cancelled, stays = put_all(group_commit, 2)
    await settle()
    cancelled.cancel()
    flushes.gate.set()
    results = await asyncio.wait_for(asyncio.gather(cancelled, stays, return_exceptions=True), GENEROUS_SECONDS)
    assert [type(result) for result in results] == [asyncio.CancelledError, OSError]


async def test_callers_are_told_when_their_flush_is_cancelled() -> None:
    flushes = Flushes()
    flushes.gate.clear()
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=10)
    tasks = put_all(group_commit, 2)
    await settle()
    (drain,) = group_commit._running
    drain.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["shutting down"] * 2
    assert drain.cancelled()


async def test_a_refused_lone_item_is_not_flushed_a_second_time() -> None:
    def answer(items: list[int]) -> Results:
        raise Refused("always")

    flushes = Flushes(answer)
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=5, split_on=(Refused,))
    with pytest.raises(Refused):
        await group_commit.put(1)
    assert flushes.groups == [[1]]


async def test_a_caller_cancelled_at_its_timeout_is_cancelled_without_an_error_in_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, errors, ahead = asyncio.get_running_loop(), list[dict[str, Any]](), [0.0]
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + ahead[0])
    loop.set_exception_handler(lambda _, context: errors.append(context))
    flushes = Flushes()
    flushes.gate.clear()
    group_commit: GroupCommit[int, str] = GroupCommit(flushes, limit=1, timeout_seconds=60)
    task = asyncio.ensure_future(group_commit.put(1))
    await settle()
    loop.call_at(0, task.cancel)  # both timers are due in the same turn of the loop, and this one comes first
    ahead[0] = 61
    with pytest.raises(asyncio.CancelledError):
        await task
    flushes.gate.set()
    await settle()
    assert errors == []


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_an_item_that_is_put_while_a_flush_ends_is_flushed(concurrency: int) -> None:
    """The item arrives in the step of the loop in which the last results are given out and the drains end."""
    gates: list[asyncio.Future[None]] = []

    async def flush(items: list[int]) -> Results:
        gates.append(asyncio.get_running_loop().create_future())
        await gates[-1]
        return bracketed(items)

    group_commit: GroupCommit[int, str] = GroupCommit(flush, limit=1, concurrency=concurrency)
    first = put_all(group_commit, concurrency)
    await settle()
    for gate in gates:
        gate.set_result(None)
    late = asyncio.ensure_future(group_commit.put(9))
    await settle()
    assert len(gates) == concurrency + 1, "the late item waits for nobody"
    gates[-1].set_result(None)
    assert await late == "<9>"
    await asyncio.gather(*first)

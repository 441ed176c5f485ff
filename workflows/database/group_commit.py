"""Group commit: run concurrent requests in one transaction.

Each request stores a row or two, and a commit costs the same for one row as for fifty. ``GroupCommit`` runs one flush at a
time, and the requests that arrive meanwhile form the next group. There is no timer, so a single request is never delayed, and
groups grow with the load.

A caller that waits longer than ``timeout_seconds`` gets ``ServiceUnavailable``. Otherwise a database that neither answers nor
disconnects would block every caller indefinitely. If the caller's item has not been started by then, it is dropped, so that no
payment is created after its caller gave up and the customer may have paid another way.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar, cast

from workflows.errors import ServiceUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Calls ``flush(items)`` for groups of up to ``limit`` items, and returns to each caller the result of its item.

    ``flush`` returns one result per item, in order. A result that is an exception is raised to the caller of that item only.
    If ``flush`` itself raises, every caller of the group gets the exception, except for exceptions of ``split_on``: then each
    item is flushed again on its own, so that one faulty item does not fail the others. Up to ``concurrency`` flushes run at a
    time. A caller waits at most ``timeout_seconds``; ``None`` means without limit.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[list[Result | BaseException]]],
        *,
        limit: int,
        concurrency: int = 1,
        split_on: tuple[type[Exception], ...] = (),
        timeout_seconds: float | None = None,
    ) -> None:
        self._flush = flush
        self._timeout_seconds = timeout_seconds
        self._split_on = split_on
        self._limit = limit
        self._concurrency = concurrency
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()

    async def put(self, item: Item) -> Result:
        """Flush ``item`` together with other waiting items, and return its result.

        Raises ``ServiceUnavailable`` after ``timeout_seconds``. A flush that has started by then continues and may commit.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._running) < self._concurrency:
            drain = asyncio.create_task(self._drain())
            self._running.add(drain)
        if self._timeout_seconds is None:
            return await future
        # Not asyncio.timeout(): it costs more per request, and a TimeoutError of the flush must reach the caller as it is.
        timer = asyncio.get_running_loop().call_later(self._timeout_seconds, _give_up, future)
        try:
            return await future
        finally:
            timer.cancel()

    async def _drain(self) -> None:
        try:
            await self._flush_waiting()
        finally:
            # In the same step of the loop as the last look at the queue. A done-callback would run a step later, and an item
            # that is put in between would find a running drain that ends without it.
            self._running.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _flush_waiting(self) -> None:
        while group := self._next_group():
            try:
                results = await self._flush_or_split([item for item, _ in group])
            except BaseException as error:
                # Every caller of the group must get the error, or it would wait permanently. A cancellation propagates.
                for _, future in group:
                    if not future.done():
                        future.set_exception(error if isinstance(error, Exception) else RuntimeError("shutting down"))
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, future), result in zip(group, results, strict=True):
                _set_result(future, result)

    def _next_group(self) -> list[tuple[Item, "asyncio.Future[Result]"]]:
        group: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(group) < self._limit:
            item, future = self._waiting.popleft()
            if not future.done():  # if it is done, its caller timed out or disconnected while it waited
                group.append((item, future))
        return group

    async def _flush_or_split(self, items: list[Item]) -> list[Result | BaseException]:
        try:
            return await self._flush(items)
        except self._split_on:
            if len(items) == 1:
                raise
        return [await self._flush_alone(item) for item in items]

    async def _flush_alone(self, item: Item) -> Result | BaseException:
        try:
            [result] = await self._flush([item])
        except Exception as error:  # any exception, so that the next items are flushed nevertheless
            return error
        return result


class KeyedGroupCommit(Generic[Item, Result]):
    """A ``GroupCommit`` per key, so that a flush that waits for the lock of one key does not delay other keys."""

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[list[Result | BaseException]]],
        *,
        limit: int,
        split_on: tuple[type[Exception], ...] = (),
        timeout_seconds: float | None = None,
    ) -> None:
        self._make = partial(
            GroupCommit[Item, Result], flush, limit=limit, split_on=split_on, timeout_seconds=timeout_seconds
        )
        self._by_key: dict[str, GroupCommit[Item, Result]] = {}
        self._waiting: Counter[str] = Counter()

    async def put(self, key: str, item: Item) -> Result:
        """Flush ``item`` together with other items of the same ``key``, as ``GroupCommit.put`` does."""
        group_commit = self._by_key.setdefault(key, self._make())
        self._waiting[key] += 1
        try:
            return await group_commit.put(item)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._by_key[key]


def _give_up(future: "asyncio.Future[Result]") -> None:
    if not future.done():
        future.set_exception(ServiceUnavailable(retry_after_seconds=1))


def _set_result(future: "asyncio.Future[Result]", result: "Result | BaseException") -> None:
    if future.done():  # the caller timed out or disconnected; its item was flushed nevertheless
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)

"""Group commit: whoever waits goes together.

Concurrent requests each have a row or two to store, and a commit costs the same for one as for fifty. ``Gather`` runs
one flush at a time; what arrives meanwhile forms the next group. There is no timer, so a lone request is never delayed,
and the busier it gets the larger the groups become.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Gather(Generic[Item, Result]):
    """Calls ``flush(items)`` with up to ``limit`` items at a time and hands each caller its own result.

    ``flush`` returns one result per item, in order; a result that is an exception is raised to that caller alone. If
    ``flush`` itself raises, every caller of that group gets the exception; but if it is one of ``divide_on``, each item is
    flushed by itself, so that what is wrong with one is nobody else's error. ``lanes`` flushes may run side by side.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[list[Result | BaseException]]],
        *,
        limit: int,
        lanes: int = 1,
        divide_on: tuple[type[Exception], ...] = (),
    ) -> None:
        self._flush = flush
        self._divide_on = divide_on
        self._limit = limit
        self._lanes = lanes
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()

    async def put(self, item: Item) -> Result:
        """Have ``item`` flushed with whoever else waits, and return its result."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._running) < self._lanes:
            lane = asyncio.create_task(self._drain())
            self._running.add(lane)
            lane.add_done_callback(self._running.discard)
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
            try:
                results = await self._flush_or_divide([item for item, _ in group])
            except BaseException as error:
                # Every caller of the group must hear of it, or it would wait for ever; a cancellation goes on outwards.
                for _, future in group:
                    if not future.done():
                        future.set_exception(error if isinstance(error, Exception) else RuntimeError("shutting down"))
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, future), result in zip(group, results, strict=True):
                _settle(future, result)

    async def _flush_or_divide(self, items: list[Item]) -> list[Result | BaseException]:
        try:
            return await self._flush(items)
        except self._divide_on:
            if len(items) == 1:
                raise
        return [await self._flush_alone(item) for item in items]

    async def _flush_alone(self, item: Item) -> Result | BaseException:
        try:
            [result] = await self._flush([item])
        except Exception as error:  # whatever it is: those behind it have their turn all the same
            return error
        return result


class GatherByKey(Generic[Item, Result]):
    """A ``Gather`` for each key that somebody waits for: who waits for one key's lock holds up no other key."""

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[list[Result | BaseException]]],
        *,
        limit: int,
        divide_on: tuple[type[Exception], ...] = (),
    ) -> None:
        self._make = partial(Gather[Item, Result], flush, limit=limit, divide_on=divide_on)
        self._by_key: dict[str, Gather[Item, Result]] = {}
        self._waiting: Counter[str] = Counter()

    async def put(self, key: str, item: Item) -> Result:
        """Have ``item`` flushed with whoever else waits for ``key``, and return its result."""
        gather = self._by_key.setdefault(key, self._make())
        self._waiting[key] += 1
        try:
            return await gather.put(item)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._by_key[key]


def _settle(future: "asyncio.Future[Result]", result: "Result | BaseException") -> None:
    if future.done():  # the caller went away; what it asked for was done all the same
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)

"""Group commit: whoever waits goes together.

Concurrent requests each have a row or two to store, and a commit costs the same for one as for fifty. ``GroupCommit`` runs
one flush at a time; what arrives meanwhile forms the next group. There is no timer, so a lone request is never delayed,
and the busier it gets the larger the groups become.

Who has waited beyond ``timeout_seconds`` is told so: a database that neither answers nor hangs up would hold the lanes,
and with them everybody, for as long as it likes. If its turn had not come by then it never does: nobody waits for it any
more, and a payment made long after its customer has paid otherwise is worse than none.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

from workflows.errors import ServiceUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Calls ``flush(items)`` with up to ``limit`` items at a time and hands each caller its own result.

    ``flush`` returns one result per item, in order; a result that is an exception is raised to that caller alone. If
    ``flush`` itself raises, every caller of that group gets the exception; but if it is one of ``split_on``, each item is
    flushed by itself, so that what is wrong with one is nobody else's error. ``concurrency`` flushes may run side by side.
    ``timeout_seconds``: how long a caller waits; without it, as long as it takes.
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
        """Have ``item`` flushed with whoever else waits, and return its result.

        Raises ``ServiceUnavailable`` when its patience is over: if its flush has begun, it may yet come to its end.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._running) < self._concurrency:
            lane = asyncio.create_task(self._drain())
            self._running.add(lane)
            lane.add_done_callback(self._running.discard)
        if self._timeout_seconds is None:
            return await future
        # Not asyncio.timeout(): this is paid by each request, and a time-out of the flush's own must stay its own.
        giving_up = asyncio.get_running_loop().call_later(self._timeout_seconds, _give_up, future)
        try:
            return await future
        finally:
            giving_up.cancel()

    async def _drain(self) -> None:
        while group := self._next_group():
            try:
                results = await self._flush_or_split([item for item, _ in group])
            except BaseException as error:
                # Every caller of the group must hear of it, or it would wait for ever; a cancellation goes on outwards.
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
            if not future.done():  # else its caller went away while it waited
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
        except Exception as error:  # whatever it is: those behind it have their turn all the same
            return error
        return result


class KeyedGroupCommit(Generic[Item, Result]):
    """A ``GroupCommit`` for each key that somebody waits for: who waits for one key's lock holds up no other key."""

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
        """``GroupCommit.put`` among those that wait for ``key``."""
        gather = self._by_key.setdefault(key, self._make())
        self._waiting[key] += 1
        try:
            return await gather.put(item)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._by_key[key]


def _give_up(future: "asyncio.Future[Result]") -> None:
    if not future.done():
        future.set_exception(ServiceUnavailable(retry_after_seconds=1))


def _set_result(future: "asyncio.Future[Result]", result: "Result | BaseException") -> None:
    if future.done():  # the caller went away; what it asked for was done all the same
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)

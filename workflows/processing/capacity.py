"""Limit the claimed rows of a process, per provider, and queue the ids that wait for a slot.

A provider that hangs occupies its own slots only: rows of other providers, and rows that need no call (cash, reports of the
terminal, immediate cancels), have their own.

| slots of              | as many as                   | when all are taken                                           |
|-----------------------|------------------------------|--------------------------------------------------------------|
| each provider         | calls that may be open to it | its rows stay unclaimed; their ids wait here, up to a limit  |
| rows without a call   | rows claimed                 | the claim waits: only the database can delay these           |
"""

import asyncio
from collections.abc import Iterable
from itertools import islice

MAX_WAITING = 10_000
"""Ids that may wait for a slot of one provider (about 1 MB). The sweep finds the others."""


class Capacity:
    """The slots of one process. It belongs to one event loop."""

    def __init__(self, providers: Iterable[str], *, calls: int, rows: int) -> None:
        self._free = dict.fromkeys(providers, min(calls, rows))
        self._local = asyncio.Semaphore(rows)
        self._acquiring = asyncio.Lock()

    def free_slots(self, provider: str) -> int:
        """Return how many slots of ``provider`` are free."""
        return self._free.get(provider, 0)

    async def acquire(self, count: int) -> frozenset[str]:
        """Acquire ``count`` slots of each provider and ``count`` for rows without a call.

        Return the full providers: those with fewer free slots, of which no slot is acquired.
        Callers wait one after the other: two callers that each hold half of the slots they need would wait for each other
        permanently.
        """
        acquired = 0
        try:
            async with self._acquiring:
                while acquired < count:
                    await self._local.acquire()
                    acquired += 1
        except BaseException:  # the task was cancelled while it waited
            self._release_local(acquired)
            raise
        full = frozenset(name for name, free in self._free.items() if free < count)
        for name in self._free.keys() - full:
            self._free[name] -= count
        return full

    def release_unused(self, count: int, full: frozenset[str], used: Iterable[str | None]) -> None:
        """After ``acquire(count)``, keep one slot for each claimed row and release the others.

        ``full`` is the result of ``acquire``. ``used`` has the provider to call for each claimed row, or ``None`` if the row
        needs no call.
        """
        numbers: dict[str | None, int] = {}
        for provider in used:
            numbers[provider] = numbers.get(provider, 0) + 1
        self._release_local(count - numbers.pop(None, 0))
        for name in self._free.keys() - full:
            self._free[name] += count - numbers.get(name, 0)

    def release(self, provider: str | None) -> None:
        """Release one slot of ``provider``, or one for rows without a call if ``provider`` is ``None``."""
        if provider is None:
            self._release_local(1)
        else:
            self._free[provider] += 1

    def _release_local(self, count: int) -> None:
        for _ in range(count):
            self._local.release()


class WaitingIds:
    """A queue of ids, each once, the oldest first."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Iterable[str]) -> None:
        """Add ``ids`` until the queue is full, and drop the rest."""
        for row_id in ids:
            if len(self._ids) >= MAX_WAITING:
                return
            self._ids[row_id] = None

    def pop(self, count: int) -> list[str]:
        """Remove up to ``count`` ids and return them."""
        popped = list(islice(self._ids, count))
        for row_id in popped:
            del self._ids[row_id]
        return popped

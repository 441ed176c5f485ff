"""Limit the claimed rows of a process, per provider, and queue the ids that wait for a place.

A provider that hangs occupies its own places only: rows of other providers, and rows that need no call (cash, reports of
the terminal, cancels at once), have places of their own.

| places of             | as many as                   | when all are taken                                           |
|-----------------------|------------------------------|--------------------------------------------------------------|
| each provider         | calls that may be open to it | its rows stay unclaimed; their ids wait here, up to a limit  |
| rows without a call   | rows claimed                 | the claim waits: only the database can delay these           |
"""

import asyncio
from collections.abc import Iterable
from itertools import islice

MOST_WAITING = 10_000
"""Ids that may wait for a place at one provider (about 1 MB). The sweep finds the others."""


class Capacity:
    """The places of one process. It belongs to one event loop."""

    def __init__(self, providers: Iterable[str], *, calls: int, rows: int) -> None:
        self._free = dict.fromkeys(providers, min(calls, rows))
        self._without_call = asyncio.Semaphore(rows)
        self._next = asyncio.Lock()

    def free(self, provider: str) -> int:
        """Return how many places ``provider`` has left."""
        return self._free.get(provider, 0)

    async def take(self, count: int) -> frozenset[str]:
        """Take ``count`` places without call, and of each provider that has as many; return the providers that have not.

        One caller waits at a time: two that each hold half of what they need would wait for each other permanently.
        """
        taken = 0
        try:
            async with self._next:
                while taken < count:
                    await self._without_call.acquire()
                    taken += 1
        except BaseException:  # its task waited too long: return the places that it took
            self.give_without_call(taken)
            raise
        full = frozenset(name for name, free in self._free.items() if free < count)
        for name in self._free.keys() - full:
            self._free[name] -= count
        return full

    def return_unused(self, count: int, full: frozenset[str], claimed: Iterable[str | None]) -> None:
        """Return the places that ``take`` took for ``count`` rows, except one place for each of ``claimed``.

        ``claimed`` are the providers that will be called, ``None`` for a row that needs no call.
        """
        used: dict[str | None, int] = {}
        for provider in claimed:
            used[provider] = used.get(provider, 0) + 1
        self.give_without_call(count - used.pop(None, 0))
        for name in self._free.keys() - full:
            self._free[name] += count - used.get(name, 0)

    def give(self, provider: str | None) -> None:
        """Return one place."""
        if provider is None:
            self.give_without_call(1)
        else:
            self._free[provider] += 1

    def give_without_call(self, count: int) -> None:
        """Return ``count`` places without call."""
        for _ in range(count):
            self._without_call.release()


class WaitingIds:
    """A queue of ids, each once, the oldest first."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Iterable[str]) -> None:
        """Add ``ids`` as far as there is room."""
        for row_id in ids:
            if len(self._ids) >= MOST_WAITING:
                return
            self._ids[row_id] = None

    def take(self, count: int) -> list[str]:
        """Remove up to ``count`` ids and return them."""
        taken = list(islice(self._ids, count))
        for row_id in taken:
            del self._ids[row_id]
        return taken

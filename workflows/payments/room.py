"""Room: how many claimed rows a process may hold, per provider, and the ids that wait for a place.

A provider that hangs keeps its own places and no others: rows of other providers, and rows for which no provider is asked
(cash, reports of the terminal, cancels at once), have places of their own.

| places of      | as many as                   | when they are taken                                        |
|----------------|------------------------------|--------------------------------------------------------------|
| each provider  | calls that may be open to it | its rows stay unclaimed; their ids wait here, up to a limit  |
| nobody         | rows in hand                 | the claim waits: only the database can hold these up         |
"""

import asyncio
from collections.abc import Iterable
from itertools import islice

MOST_WAITING = 10_000
"""Ids that wait for a place at one provider (about 1 MB). The sweep finds the others."""


class Rooms:
    """The places of one process. Lives on one event loop."""

    def __init__(self, providers: Iterable[str], *, calls: int, in_hand: int) -> None:
        self._free = dict.fromkeys(providers, min(calls, in_hand))
        self._nobodys = asyncio.Semaphore(in_hand)
        self._next = asyncio.Lock()

    def free(self, provider: str) -> int:
        """Return how many places ``provider`` has left."""
        return self._free.get(provider, 0)

    async def take(self, count: int) -> frozenset[str]:
        """Take ``count`` places of nobody's and of each provider that has so many; return the providers that have not.

        One caller waits at a time: two that each hold half of what they need would wait for each other permanently.
        """
        taken = 0
        try:
            async with self._next:
                while taken < count:
                    await self._nobodys.acquire()
                    taken += 1
        except BaseException:  # its task waited too long: what it took must not be lost with it
            self.give_nobodys(taken)
            raise
        full = frozenset(name for name, free in self._free.items() if free < count)
        for name in self._free.keys() - full:
            self._free[name] -= count
        return full

    def keep(self, count: int, full: frozenset[str], claimed: Iterable[str | None]) -> None:
        """Give back what ``take`` took for ``count`` rows but for one place for each of ``claimed``.

        ``claimed`` are the providers that will be asked, ``None`` for a row of which nobody is.
        """
        used: dict[str | None, int] = {}
        for provider in claimed:
            used[provider] = used.get(provider, 0) + 1
        self.give_nobodys(count - used.pop(None, 0))
        for name in self._free.keys() - full:
            self._free[name] += count - used.get(name, 0)

    def give(self, provider: str | None) -> None:
        """Give back one place."""
        if provider is None:
            self.give_nobodys(1)
        else:
            self._free[provider] += 1

    def give_nobodys(self, count: int) -> None:
        """Give back ``count`` places of nobody's."""
        for _ in range(count):
            self._nobodys.release()


class Waiting:
    """Ids that wait in line, each once, the oldest first."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Iterable[str]) -> None:
        """Let ``ids`` wait, as far as there is room."""
        for row_id in ids:
            if len(self._ids) >= MOST_WAITING:
                return
            self._ids[row_id] = None

    def take(self, count: int) -> list[str]:
        """Take up to ``count`` ids out of the line."""
        taken = list(islice(self._ids, count))
        for row_id in taken:
            del self._ids[row_id]
        return taken

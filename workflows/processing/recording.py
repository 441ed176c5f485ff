"""Recording: write the answers that are ready, in the groups that form.

An answer whose bill is locked leaves its group and waits apart, so that a bill's lock delays only that bill.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Generic, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError

from workflows.bills.lock import HeldUp, Locking, lock_all, lock_free
from workflows.database.group_commit import Gather, GatherByKey
from workflows.errors import ServiceUnavailable

LANES = 2
"""Groups being recorded at once: one prepares in Python while the other commits."""

BILLS_WAITED_FOR = 4
"""Bills whose locks are waited for at once: each wait holds a connection, and the rest of the pool stays usable."""

RETRY_SECONDS = 0.25
"""Between two tries while the database is away."""

GROUP_LIMIT = 100
"""Rows per recording statement: a NOTIFY's payload holds 8,000 bytes, a hundred ids with their versions fit."""

ItemT = TypeVar("ItemT")


class Write(Protocol[ItemT]):
    """Write a group in one transaction."""

    def __call__(self, group: list[ItemT], *, locking: Locking) -> Awaitable[list[str | HeldUp | None]]:
        """Return each row's status now, ``None`` where the fence had moved on, ``HeldUp`` where its bill is."""
        ...


class Recording(Generic[ItemT]):
    """Record the answers of one process. It belongs to one event loop."""

    def __init__(self, write: Write[ItemT], *, insist_seconds: float) -> None:
        self._write = write
        self._insist_seconds = insist_seconds
        self._records: Gather[ItemT, str | HeldUp | None] = Gather(
            partial(self._record, lock_free), limit=GROUP_LIMIT, lanes=LANES, divide_on=(DBAPIError,)
        )
        self._held_up: GatherByKey[ItemT, str | HeldUp | None] = GatherByKey(
            self._record_when_free, limit=GROUP_LIMIT, divide_on=(DBAPIError,)
        )
        self._waits = asyncio.Semaphore(BILLS_WAITED_FOR)

    async def put(self, item: ItemT) -> str | HeldUp | None:
        """Record one answer; return its row's status now, or ``None`` where the fence had moved on."""
        status = await self._records.put(item)
        if isinstance(status, HeldUp):
            # Recorded as soon as its bill is free, in one group with the other answers for that bill.
            status = await self._held_up.put(status.bill_id, item)
        return status

    async def _record(self, locking: Locking, group: list[ItemT]) -> list[str | HeldUp | BaseException | None]:
        """Record, and try again while the leases hold: recording an answer is better than asking for it again later."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._insist_seconds
        while True:
            try:
                return [*await self._write(group, locking=locking)]
            except ServiceUnavailable:
                if loop.time() > give_up_at:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    async def _record_when_free(self, group: list[ItemT]) -> list[str | HeldUp | BaseException | None]:
        async with self._waits:
            return await self._record(lock_all, group)

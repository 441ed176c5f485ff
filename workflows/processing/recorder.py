"""Record answers in the groups that form, each group in one transaction.

An answer whose bill is locked leaves its group and waits apart, so that a bill's lock delays only that bill.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.lock import BillLocked, lock_all_bills, lock_unlocked_bills
from workflows.database.engines import Role, transaction
from workflows.database.group_commit import GroupCommit, KeyedGroupCommit
from workflows.errors import ServiceUnavailable
from workflows.processing.leases import RequestT
from workflows.processing.workload import Answered, Workload

CONCURRENCY = 2
"""Groups being recorded at once: one prepares in Python while the other commits."""

BILLS_WAITED_FOR = 4
"""Bills whose locks are waited for at once: each wait holds a connection, and the rest of the pool stays usable."""

RETRY_SECONDS = 0.25
"""Pause between two tries while the database is away."""

GROUP_LIMIT = 100
"""Rows per recording statement: a NOTIFY's payload holds 8,000 bytes, a hundred ids with their versions fit."""

Result = str | BillLocked | None
"""A row's present status, ``None`` if another worker has taken it over, ``BillLocked`` if it was not recorded."""

LockBills = Callable[[AsyncConnection, Iterable[str | None]], Awaitable[set[str | None]]]


class Recorder(Generic[RequestT]):
    """Records the answers of one process. It belongs to one event loop."""

    def __init__(self, workload: Workload[RequestT], *, worker: str, insist_seconds: float) -> None:
        self._workload = workload
        self._worker = worker
        self._insist_seconds = insist_seconds
        self._groups: GroupCommit[Answered[RequestT], Result] = GroupCommit(
            self._record_unlocked, limit=GROUP_LIMIT, concurrency=CONCURRENCY, split_on=(DBAPIError,)
        )
        self._by_bill: KeyedGroupCommit[Answered[RequestT], Result] = KeyedGroupCommit(
            self._record_one_bill, limit=GROUP_LIMIT, split_on=(DBAPIError,)
        )
        self._waits = asyncio.Semaphore(BILLS_WAITED_FOR)

    async def put(self, answered: Answered[RequestT]) -> Result:
        """Record one answer; return its row's present status, or ``None`` if another worker has taken it over.

        Raises ``ServiceUnavailable`` if the database stays away: nothing is recorded then, the attempt stays unanswered, and
        the sweep finds the row when its lease has run out.
        """
        status = await self._groups.put(answered)
        if isinstance(status, BillLocked):
            # Recorded as soon as its bill is free, in one group with the other answers for that bill.
            status = await self._by_bill.put(status.bill_id, answered)
        return status

    async def _record_unlocked(self, group: list[Answered[RequestT]]) -> list[Result | BaseException]:
        return await self._insist(group, lock_unlocked_bills)

    async def _record_one_bill(self, group: list[Answered[RequestT]]) -> list[Result | BaseException]:
        async with self._waits:
            return await self._insist(group, lock_all_bills)

    async def _insist(self, group: list[Answered[RequestT]], lock_bills: LockBills) -> list[Result | BaseException]:
        """Record, and try again while the leases hold: recording an answer is better than asking for it again later."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._insist_seconds
        while True:
            try:
                return [*await self._record(group, lock_bills)]
            except ServiceUnavailable:
                if loop.time() > give_up_at:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    async def _record(self, group: list[Answered[RequestT]], lock_bills: LockBills) -> list[Result]:
        """Record those of ``group`` whose bills ``lock_bills`` gets, in one transaction: the others are ``BillLocked``."""
        async with transaction(Role.WORKER) as connection:
            # Bills before payments: the order of all locks.
            locked = await lock_bills(connection, (answered.claim.bill_id for answered in group))
            ours = [answered for answered in group if answered.claim.bill_id in locked]
            statuses = await self._workload.record(connection, ours, worker=self._worker) if ours else {}
        return [
            BillLocked(claim.bill_id) if claim.bill_id and claim.bill_id not in locked else statuses.get(claim.id)
            for claim in (answered.claim for answered in group)
        ]

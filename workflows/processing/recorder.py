"""Record answers in the groups that form, each group in one transaction.

| answer                                                    | recorded                                                        |
|-----------------------------------------------------------|-----------------------------------------------------------------|
| of a row that affects no other (a payment without a bill) | by one statement that is its own transaction: one round trip    |
| of any other row, and what that statement left out        | in a transaction of several statements                          |

An answer whose bill is locked leaves its group and is recorded apart, so that a bill's lock delays only that bill.
``common_columns`` and ``tally_final`` are the parts of recording that payments and refunds share.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Generic, TypedDict, cast

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.lock import BillLocked, lock_all_bills, lock_unlocked_bills
from workflows.database.engines import Role, transaction
from workflows.database.group_commit import GroupCommit, KeyedGroupCommit
from workflows.database.metrics_buffer import FINAL, count_final_rows, note_final, pop_outcomes
from workflows.errors import ServiceUnavailable
from workflows.processing.leases import RequestT
from workflows.processing.lost_answers import find_recorded
from workflows.processing.workload import AnsweredClaim, Workload

CONCURRENCY = 2
"""Groups being recorded at once: one is prepared in Python while the other commits."""

BILLS_WAITED_FOR = 4
"""Bills whose locks are waited for at once: each wait holds a connection, and the rest of the pool stays usable."""

RETRY_SECONDS = 0.25
"""Pause between two tries while the database is unavailable."""

GROUP_LIMIT = 100
"""Rows per recording statement: a NOTIFY's payload holds 8,000 bytes, and a hundred ids with their versions fit."""

LockBills = Callable[[AsyncConnection, Iterable[str | None]], Awaitable[set[str | None]]]


class Recorder(Generic[RequestT]):
    """Records the answers of one process. It belongs to one event loop."""

    def __init__(self, workload: Workload[RequestT], *, worker: str, retry_seconds: float) -> None:
        self._workload = workload
        self._worker = worker
        self._retry_seconds = retry_seconds
        self._alone: GroupCommit[AnsweredClaim[RequestT], str | None] = GroupCommit(
            self._record_alone, limit=GROUP_LIMIT, concurrency=CONCURRENCY, split_on=(DBAPIError,)
        )
        self._groups: GroupCommit[AnsweredClaim[RequestT], str | BillLocked | None] = GroupCommit(
            self._record_unlocked, limit=GROUP_LIMIT, concurrency=CONCURRENCY, split_on=(DBAPIError,)
        )
        self._by_bill: KeyedGroupCommit[AnsweredClaim[RequestT], str | None] = KeyedGroupCommit(
            self._record_one_bill, limit=GROUP_LIMIT, split_on=(DBAPIError,)
        )
        self._waits = asyncio.Semaphore(BILLS_WAITED_FOR)

    async def put(self, answered: AnsweredClaim[RequestT]) -> str | None:
        """Record one answer and return its row's present status.

        Return ``None`` if another worker has taken the row over.

        Raises ``ServiceUnavailable`` if the database stays unavailable. Then nothing is recorded, the attempt stays
        unanswered, and the sweep finds the row when its lease has expired.
        """
        if self._workload.is_alone(answered.claim) and (recorded := await self._alone.put(answered)):
            return recorded
        status = await self._groups.put(answered)
        if isinstance(status, BillLocked):
            # Recorded as soon as its bill is free, in one group with the other answers for that bill.
            return await self._by_bill.put(status.bill_id, answered)
        return status

    async def _record_alone(self, group: list[AnsweredClaim[RequestT]]) -> list[str | BaseException | None]:
        async def record() -> list[str | BillLocked | None]:
            statuses = await self._workload.record_alone(group, worker=self._worker)
            return [statuses.get(answered.claim.id) for answered in group]

        return cast("list[str | BaseException | None]", await self._retry(group, record))

    async def _record_unlocked(
        self, group: list[AnsweredClaim[RequestT]]
    ) -> list[str | BillLocked | BaseException | None]:
        return [*await self._retry(group, lambda: self._record(group, lock_unlocked_bills))]

    async def _record_one_bill(self, group: list[AnsweredClaim[RequestT]]) -> list[str | BaseException | None]:
        async with self._waits:
            statuses = await self._retry(group, lambda: self._record(group, lock_all_bills))
        return cast("list[str | BaseException | None]", statuses)  # ``lock_all_bills`` waits, so no bill stays locked

    async def _retry(
        self, group: Sequence[AnsweredClaim[RequestT]], record: Callable[[], Awaitable[list[str | BillLocked | None]]]
    ) -> list[str | BillLocked | None]:
        """Record a group, and retry while the leases hold.

        Recording an answer late is better than asking the provider for it again.
        """
        may_be_recorded = False
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._retry_seconds
        while True:
            try:
                results = await record()
                return await self._add_recorded(group, results) if may_be_recorded else results
            except ServiceUnavailable:
                may_be_recorded = True  # only its answer may have been lost
                if loop.time() > give_up_at:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    async def _add_recorded(
        self, group: Sequence[AnsweredClaim[RequestT]], results: list[str | BillLocked | None]
    ) -> list[str | BillLocked | None]:
        """Return ``results`` with the rows that an earlier try has recorded, and count these rows."""
        pairs = list(zip(group, results, strict=True))
        missing = [answered.claim for answered, result in pairs if not isinstance(result, str)]
        rows = await find_recorded(self._workload.entity, missing) if missing else []
        count_final(self._workload.entity, cast("list[FinalColumns]", rows))
        earlier = {row["id"]: row["status"] for row in rows}
        return [earlier.get(answered.claim.id, result) for answered, result in pairs]

    async def _record(
        self, group: list[AnsweredClaim[RequestT]], lock_bills: LockBills
    ) -> list[str | BillLocked | None]:
        """Record, in one transaction, the answers of ``group`` whose bills ``lock_bills`` could lock.

        Return a status per answer, ``BillLocked`` for the answers whose bills are locked by another transaction.
        """
        async with transaction(Role.WORKER) as connection:
            # Bills before payments: the order of all locks.
            locked = await lock_bills(connection, (answered.claim.bill_id for answered in group))
            ours = [answered for answered in group if answered.claim.bill_id in locked]
            statuses = await self._workload.record(connection, ours, worker=self._worker) if ours else {}
        return [
            BillLocked(claim.bill_id) if claim.bill_id and claim.bill_id not in locked else statuses.get(claim.id)
            for claim in (answered.claim for answered in group)
        ]


def common_columns(answered: AnsweredClaim[Any]) -> dict[str, Any]:
    """Return an answer as a row of the recording statement's input (``shared_statements.INPUT_COLUMNS``)."""
    decision, claim = answered.decision, answered.claim
    return {
        "id": claim.id,
        "fence": claim.fence,
        "attempt": claim.attempt_number,
        "step": str(claim.step),
        "event": decision.event,
        "status": decision.status,
        "due_in": decision.due_in_seconds,
        "attempt_outcome": decision.attempt_outcome,
        "code": decision.code,
        "message": decision.message,
        "outcome_known": decision.outcome_known,
        "needs_review": decision.needs_review,
        "provider_reference": decision.provider_reference,
        "not_found": decision.not_found,
        "inquiries": decision.inquiries,
        "answer": answered.answer.name if answered.answer else None,
        "fee": decision.fee,
    }


class FinalColumns(TypedDict):
    """The columns of a recorded row that ``tally_final`` reads. ``age`` is the row's age in seconds."""

    status: str
    method_type: str
    provider: str
    code: str | None
    age: float


def count_final(entity: str, recorded: Sequence[FinalColumns]) -> None:
    """Count the rows that a committed statement made final, for the metrics."""
    committed = object()
    tally_final(committed, entity, recorded)
    count_final_rows(pop_outcomes(committed) or ())


def tally_final(connection: object, entity: str, recorded: Sequence[FinalColumns]) -> None:
    """Count the recorded rows that became final, for the metrics."""
    for row in recorded:
        if row["status"] in FINAL:
            note_final(
                connection,
                entity,
                method=row["method_type"],
                provider=row["provider"],
                status=row["status"],
                code=row["code"],
                seconds=row["age"],
            )

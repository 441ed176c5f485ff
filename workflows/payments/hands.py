"""Hands: what this process is working on. Payments and refunds are carried alike: claim, call, record.

| phase  | transaction | connection | what                                                                  |
|--------|-------------|------------|-----------------------------------------------------------------------|
| claim  | one a batch | one        | status, lease, fence, attempt written ahead                            |
| call   | none        | none       | the provider is asked for all of them at once                          |
| record | one a group | one        | the answers that are ready, in the groups that form                    |

An answer whose bill somebody else holds leaves its group and waits apart: a bill's lock holds up that bill alone.

One bad row never fails its batch, and a slow one never holds back a finished one: a batch's caller waits only
``PATIENCE_SECONDS`` for it, then the calls go on by themselves. That is safe because the rows, not the message, say what
is still to be done: should this process die, the lease runs out and the attempt is asked about.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol

from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.lock import HeldUp, Locking, lock_all, lock_free
from workflows.errors import ServiceUnavailable
from workflows.gather import Gather, GatherByKey
from workflows.ids import WELL_FORMED
from workflows.payments.leases import AskedT, Claim, LeaseTable
from workflows.payments.next_step import SENDS, Facts, Step
from workflows.payments.verdict import Schedule, Verdict, verdict
from workflows.providers.base import Answer, Provider, Succeeded, Unavailable
from workflows.providers.registry import Providers
from workflows.settings import Settings

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0
"""How long a batch holds its worker thread: longer than a usual provider call, far shorter than a hanging one."""

RECORD_LANES = 2
"""Groups being recorded at once: one prepares in Python while the other commits."""

BILLS_WAITED_FOR = 4
"""Bills whose locks are waited for at once: each keeps a connection, and the others of the pool go on."""

RECORD_RETRY_SECONDS = 0.25
"""Between two tries to record while the database is away."""

GROUP_LIMIT = 100
"""Rows per recording statement: a NOTIFY's payload holds 8,000 bytes, a hundred ids with their versions fit."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[AskedT]):
    """A claimed row, what the provider said, and what that means."""

    claimed: Claim[AskedT]
    answer: Answer | None
    verdict: Verdict


Aftermath = Callable[[AsyncConnection, Sequence[RowMapping], str], Awaitable[None]]
"""What else has to happen in the transaction that recorded these rows, by which worker."""


class Record(Protocol[AskedT]):
    """Records answers in one transaction (``record_answers``, ``record_refunds``)."""

    async def __call__(
        self, group: list[Answered[AskedT]], *, worker: str, aftermath: Sequence[Aftermath], locking: Locking
    ) -> list[str | HeldUp | None]:
        """Each row's status now, ``None`` where the fence had moved on, ``HeldUp`` where its bill is."""
        ...


@dataclass(frozen=True)
class Work(Generic[AskedT]):
    """What is different between one kind of work and another.

    ``ask`` puts the claim's question to a remote provider; ``settle`` answers for a local one (``None``: it is not local).
    """

    table: LeaseTable[AskedT]
    ask: Callable[[Provider, Claim[AskedT]], Awaitable[Answer]]
    settle: Callable[[Claim[AskedT]], Answer | None]
    record: Record[AskedT]


Records = Gather[Answered[AskedT], str | HeldUp | None]


class Hands(Generic[AskedT]):
    """The rows of one kind that this process has in hand. Lives on one event loop."""

    def __init__(
        self,
        work: Work[AskedT],
        *,
        settings: Settings,
        providers: Providers,
        worker: str,
        aftermath: Sequence[Aftermath] = (),
    ) -> None:
        self._work = work
        self._name = work.table.entity
        self._worker = worker
        self._aftermath = aftermath
        self._settings = settings
        self._providers = providers
        self._in_flight = {name: asyncio.Semaphore(settings.calls_in_flight) for name in providers.remote}
        self._room = asyncio.Semaphore(settings.payments_in_hand)
        self._next_for_room = asyncio.Lock()
        self._alone = asyncio.Lock()
        self._page = min(GROUP_LIMIT, settings.payments_in_hand)
        self._records: Records[AskedT] = Gather(
            partial(self._record, lock_free), limit=GROUP_LIMIT, lanes=RECORD_LANES, divide_on=(DBAPIError,)
        )
        self._held_up: GatherByKey[Answered[AskedT], str | HeldUp | None] = GatherByKey(
            self._record_when_free, limit=GROUP_LIMIT, divide_on=(DBAPIError,)
        )
        self._waits = asyncio.Semaphore(BILLS_WAITED_FOR)
        self._carried: set[asyncio.Task[None]] = set()

    async def process(self, ids: Sequence[object]) -> None:
        """Advance these rows by one step each. Safe to call twice, late, at once, or never.

        A message may bring anything: what is no id is told only after the others were seen to. Raises ``TypeError`` and
        ``ValueError`` for that, and ``ServiceUnavailable`` where the database is away while claiming.
        """
        if not isinstance(ids, list):
            raise TypeError(f"{self._name}s are processed by a list of their ids, not {type(ids).__name__}")
        wanted = [one for one in ids if isinstance(one, str) and WELL_FORMED.fullmatch(one)]
        for start in range(0, len(wanted), self._page):
            await self._take_in_hand(wanted[start : start + self._page])
        if len(wanted) < len(ids):
            raise ValueError(f"{len(ids) - len(wanted)} of these {len(ids)} are no ids")

    async def _take_in_hand(self, ids: list[str]) -> None:
        claimed = await self._claim_and_call(ids)
        if claimed < len(ids) and len(ids) > 1:
            for suspect in await self._work.table.suspects(ids):
                async with self._alone:  # of several that may kill this process no two are in hand at once
                    await self._claim_and_call([suspect])

    async def _claim_and_call(self, ids: list[str]) -> int:
        """Claim and begin to carry, then wait a little for the calls; returns how many rows there were to claim."""
        await self._take_room(len(ids))
        began = asyncio.get_running_loop().time()  # before the claim: its lease is counted from within
        claimed: list[Claim[AskedT]] = []
        try:
            forgetful = [name for name, one in self._providers.remote.items() if not one.deduplicates]
            claimed = await self._work.table.claim(
                ids, worker=self._worker, lease_seconds=self._settings.lease_seconds, forgetful=forgetful
            )
        finally:
            self._give_room(len(ids) - len(claimed))
        tasks = [self._start(self._carry(one, began)) for one in claimed]
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
        return len(tasks)

    async def _take_room(self, count: int) -> None:
        """Wait for room for ``count`` rows. One batch waits at a time: two that each hold half of it would do so for ever."""
        taken = 0
        try:
            async with self._next_for_room:
                while taken < count:
                    await self._room.acquire()
                    taken += 1
        except BaseException:  # its task waited too long: what it took must not be lost with it
            self._give_room(taken)
            raise

    def _give_room(self, count: int) -> None:
        for _ in range(count):
            self._room.release()

    async def drain(self, timeout_seconds: float) -> int:
        """Let the calls in hand end, for ``timeout_seconds`` at most; returns how many did not."""
        if not self._carried:
            return 0
        _, left = await asyncio.wait(set(self._carried), timeout=timeout_seconds)
        return len(left)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        return task

    async def _carry(self, claimed: Claim[AskedT], began: float) -> None:
        """Take one claimed row, whose claim ``began`` then, through its call and its record."""
        try:
            answer = await self._call(claimed, began)
            facts = claimed.facts if isinstance(answer, Succeeded) else _at_present(claimed.facts, began)
            decided = verdict(claimed.step, answer, facts=facts, schedule=self._schedule(claimed.provider))
            answered = Answered(claimed, answer, decided)
            status = await self._records.put(answered)
            if isinstance(status, HeldUp):
                # As soon as its bill is free, together with what else waits for it and with nothing else.
                status = await self._held_up.put(status.bill_id, answered)
            self._tell(claimed, status)
        except Exception:
            # Whatever went wrong is this row's alone: its lease runs out and it is asked about. Counted by the row.
            logger.exception("%s %s was left to the sweep", self._name, claimed.id, extra=self._marks(claimed))
        finally:
            self._room.release()

    async def _call(self, claimed: Claim[AskedT], began: float) -> Answer | None:
        if claimed.step is Step.CANCEL:
            return None
        settled = self._work.settle(claimed)
        if settled is not None:
            return settled
        provider = self._providers.remote.get(claimed.provider)
        if provider is None:
            return Unavailable(f"this installation has no provider {claimed.provider}")
        async with self._in_flight[provider.name]:
            # Half the lease is for the call. Who comes later, because there was no place or because this process was
            # stopped meanwhile, sends nothing: somebody else may have found the attempt unanswered and decided without it.
            elapsed = asyncio.get_running_loop().time() - began
            if elapsed > self._settings.lease_seconds / 2:
                return Unavailable("no place for another call")
            if claimed.step in SENDS and elapsed >= claimed.facts.seconds_left:
                return Unavailable("it expired before it could be sent")
            return await self._work.ask(provider, claimed)

    def _schedule(self, name: str) -> Schedule:
        provider = self._providers.remote.get(name)
        return Schedule(
            max_processing_seconds=provider.max_processing_seconds if provider else 0.0,
            review_after_seconds=self._settings.review_after_seconds,
            scale=self._settings.doubt_schedule_scale,
        )

    async def _record(
        self, locking: Locking, group: list[Answered[AskedT]]
    ) -> list[str | HeldUp | BaseException | None]:
        """Record, and insist while the leases hold: an answer in hand is worth more than a question later."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._settings.lease_seconds / 2
        while True:
            try:
                recorded = await self._work.record(
                    group, worker=self._worker, aftermath=self._aftermath, locking=locking
                )
                return [*recorded]
            except ServiceUnavailable:
                if loop.time() > give_up_at:
                    raise
                await asyncio.sleep(RECORD_RETRY_SECONDS)

    async def _record_when_free(self, group: list[Answered[AskedT]]) -> list[str | HeldUp | BaseException | None]:
        async with self._waits:
            return await self._record(lock_all, group)

    def _tell(self, claimed: Claim[AskedT], status: str | HeldUp | None) -> None:
        name = self._name
        if status is None:
            logger.warning(
                "%s %s had been taken over; its answer is evidence", name, claimed.id, extra=self._marks(claimed)
            )
        elif logger.isEnabledFor(logging.INFO):
            logger.info("%s %s: %s → %s", name, claimed.id, claimed.step, status, extra=self._marks(claimed))

    def _marks(self, claimed: Claim[AskedT]) -> dict[str, Any]:
        mark = f"{self._name}_id"
        return {mark: claimed.id, "request_id": claimed.request_id, "attempt": claimed.attempt_number}


def _at_present(facts: Facts, began: float) -> Facts:
    """``facts`` of a claim that ``began`` then, with the time that has passed since."""
    return replace(facts, elapsed_seconds=asyncio.get_running_loop().time() - began)
